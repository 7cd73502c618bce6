"""Tests of the chain adapter, on a real chain."""
