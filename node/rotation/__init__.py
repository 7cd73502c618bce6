"""Changing a running node's keys: one rotation at a time, in steps that survive a crash (docs/decisions/0019)."""
