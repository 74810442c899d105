"""Benchmarks: `./run bench NAME` measures, docs/benchmarks.md tells what was measured."""
