"""gRPC at the rim of a node: both faces served, other nodes called, and nothing decided here."""
