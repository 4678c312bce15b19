"""Engines that run cells: processes of this machine, Slurm through submitit, a Ray cluster."""

from selfsup_bench.executors.base import Executor, Job, Outcome

__all__ = ["Executor", "Job", "Outcome"]
