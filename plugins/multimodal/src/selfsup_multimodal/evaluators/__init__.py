"""Measurements across the parts of a row."""
