"""The evaluators that need no modality, one a file."""
