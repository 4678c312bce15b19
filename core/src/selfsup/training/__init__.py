"""Training: config, optimizer, checkpoints, the course of a run. :func:`selfsup.pretrain` is its face."""

from selfsup.training.run.config import OptimizationConfig, RunConfig

__all__ = ["OptimizationConfig", "RunConfig"]
