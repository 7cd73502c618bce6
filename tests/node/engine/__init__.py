"""Tests of starting an engine on this machine, with real processes."""
