"""The hooks through which everything is registered, the core's own objects included.

A plugin is a module named by an entry point of group ``selfsup``; its functions marked with ``selfsup.hookimpl`` are found by
name. Specification hooks return a list of specs and must import nothing heavy. Observer hooks are called on the main process
of a run, return nothing, and see plain values only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from selfsup.registry import specs

API_VERSION = 1
"""Version of these hooks, raised on a breaking change. A plugin module states the one it was made for: ``SELFSUP_API = 1``."""

PROJECT = "selfsup"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin's entry module as an implementation of the hook of its name."""


@hookspec
def selfsup_modalities() -> list[specs.ModalitySpec]:
    """Kinds of data."""
    return []


@hookspec
def selfsup_tasks() -> list[specs.TaskSpec]:
    """Pretext tasks with a recipe of their own; one of the same id as a composed task stands in for it."""
    return []


@hookspec
def selfsup_objectives() -> list[specs.ObjectiveSpec]:
    """Losses; each becomes a task in every modality that has what it needs."""
    return []


@hookspec
def selfsup_backbones() -> list[specs.BackboneSpec]:
    """Networks."""
    return []


@hookspec
def selfsup_evaluators() -> list[specs.EvaluatorSpec]:
    """Measurements of an encoder."""
    return []


@hookspec
def selfsup_datasets() -> list[specs.DatasetSpec]:
    """Named data sets."""
    return []


@hookspec
def selfsup_benchmarks() -> list[specs.BenchmarkSpec]:
    """Lines of benchmark suites."""
    return []


@hookspec
def selfsup_commands() -> list[specs.CommandSpec]:
    """Commands of the CLI."""
    return []


@hookspec
def selfsup_loggers() -> list[specs.LoggerSpec]:
    """Places that metrics can be sent to."""
    return []


@hookspec
def selfsup_executors() -> list[specs.ExecutorSpec]:
    """Engines that run the cells of a benchmark."""
    return []


@hookspec
def selfsup_run_started(run_dir: Path, config: dict[str, Any]) -> None:
    """A run has started; ``config`` is the resolved config as JSON values."""


@hookspec
def selfsup_step_logged(run_dir: Path, step: int, metrics: dict[str, float]) -> None:
    """A line was written to ``metrics.jsonl``."""


@hookspec
def selfsup_checkpoint_saved(run_dir: Path, path: Path, step: int) -> None:
    """A checkpoint was written in full."""


@hookspec
def selfsup_run_ended(run_dir: Path, status: str) -> None:
    """A run has ended; ``status`` is ``done``, ``stopped`` or ``failed``."""
