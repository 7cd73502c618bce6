"""Tests of the node's gRPC side, over real connections on the loopback."""
