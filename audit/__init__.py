"""The append-only, tamper-evident log: LMDB store, checkpoints, proofs, evidence, offline verification."""
