"""Solvers, nearest neighbours and metrics of the evaluators."""
