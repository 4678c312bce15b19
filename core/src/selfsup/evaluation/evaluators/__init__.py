"""Evaluators that need no modality, one per file."""
