"""What evaluators compute with: solvers, neighbours, metrics."""
