"""Solidity sources, their built ABI and bytecode, and the program that builds them."""
