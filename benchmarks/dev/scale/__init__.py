"""Runs on many machines, simulated on one, and a model of what large data cost: ``python -m scale`` in ``benchmarks/dev``."""
