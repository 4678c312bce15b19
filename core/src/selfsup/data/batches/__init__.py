"""Batches from a store or a stream: sources, samplers, windows, the loader."""
