"""The benchmark suite: ``python -m benchmarks``. docs/how-to/benchmarks.md says how to run and to read it."""
