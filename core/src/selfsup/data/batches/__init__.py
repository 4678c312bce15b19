"""Batches from a store: samplers, windows, the loader."""
