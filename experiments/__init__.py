"""Data sets, experiment files, policies and benchmarks."""
