"""Tests of `node.keys`."""
