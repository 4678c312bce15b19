"""Evaluators that compare the parts of a row."""
