"""The `kiteline` command: parses, calls, prints. No rule of the exchange stands here."""
