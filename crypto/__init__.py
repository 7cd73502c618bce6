"""SM2, SM3, SM4, Merkle trees, notes, envelopes and key files. Knows nothing of the rest of Kiteline."""
