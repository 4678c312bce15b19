"""Messages of a run that ends early or trains nothing."""

from __future__ import annotations

from selfsup.artifacts import RunDirectory
from selfsup.training.loop.checkpoint import LAST
from selfsup.training.run.config import RunConfig


def stopped(run: RunDirectory, step: int, total: int) -> str:
    """A run stopped on request and saved a checkpoint."""
    return f"Stopped at step {step} of {total}. The checkpoint is {run.checkpoints / LAST}. Go on with: {run.resume_command}"


def interrupted(run: RunDirectory) -> str:
    """A run ended before it could save a checkpoint of its last step."""
    if not RunDirectory.is_run(run.path):
        return "Interrupted before the first step: there is nothing to continue. Start again with the same command."
    if (run.checkpoints / LAST).exists():
        return f"Interrupted. The last checkpoint is {run.checkpoints / LAST}. Go on with: {run.resume_command}"
    return f"Interrupted before the first checkpoint. Begin again with: {run.resume_command}"


def untrained(config: RunConfig, *, trains: bool) -> str:
    """A run saves its untrained network. Names options without effect."""
    budget = [] if trains else ["epochs", "steps", "max_steps"]
    told = {name: value for name in budget if (value := getattr(config.optimization, name))}
    told |= {name: value for name in ("val", "loggers") if (value := getattr(config, name))}
    why = "its budget is 0 steps" if trains else f"{config.task} trains nothing"
    idle = ", ".join(f"{name}={value}" for name, value in told.items())
    return f"The untrained encoder is saved at once: {why}." + (f" Without effect: {idle}." if idle else "")
