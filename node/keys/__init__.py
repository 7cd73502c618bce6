"""This member's keys: where they lie, in which state each is, and who may use them (docs/decisions/0019)."""
