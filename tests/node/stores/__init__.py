"""Tests of `node.stores`."""
