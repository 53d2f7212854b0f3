"""Benchmarks, robustness measurements and load tests. Nothing here runs in CI's test verbs."""
