"""Real data that comes inside installed packages, so that a benchmark runs without a network."""
