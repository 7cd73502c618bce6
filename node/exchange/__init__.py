"""The exchange: what a node does as provider and as requester. Knows the chain, the stores and the peers as ports."""
