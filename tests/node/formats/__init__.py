"""Tests of `node.formats`."""
