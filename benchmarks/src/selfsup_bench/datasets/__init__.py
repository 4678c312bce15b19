"""Data that comes inside installed packages or is made of it (one set of sounds is synthetic): no network is needed."""
