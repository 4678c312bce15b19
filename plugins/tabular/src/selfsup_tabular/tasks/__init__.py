"""Tabular tasks that differ from what the core composes, one task per file."""
