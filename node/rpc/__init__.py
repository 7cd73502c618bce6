"""gRPC at the rim of a node: its faces served, other nodes called, and nothing decided here."""

from __future__ import annotations

import os

# gRPC's C core writes lines of its own to standard error, for each stranger's handshake among others, in the middle of
# this program's structured log. What matters of them is raised or logged here; GRPC_VERBOSITY brings them back.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
