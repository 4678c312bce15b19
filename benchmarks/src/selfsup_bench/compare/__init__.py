"""Two benchmarks side by side: ``selfsup benchmark --compare``."""
