"""Measures the log alone. Each module is a program that prints one JSON object; `make bench-log` runs them and writes docs/benchmarks-log.md."""
