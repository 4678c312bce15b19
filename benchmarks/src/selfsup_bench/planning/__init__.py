"""From registered benchmarks to a plan: lines, seeds, and the key of each cell."""
