"""`make bench`: run the benchmarks of tests/bench and write docs/benchmarks.md from what they measured."""
