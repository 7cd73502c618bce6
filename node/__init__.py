"""The exchange node: model, policy, exchange, chain adapter, stores, RPC, CLI."""
