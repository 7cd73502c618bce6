"""Tests of crypto.certificates."""
