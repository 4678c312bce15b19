"""Make the executor that ``selfsup benchmark`` asks for, and describe the machine that cells run on."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import click

from selfsup.errors import BenchmarkError, ConfigError

if TYPE_CHECKING:
    from selfsup.registry import Registry
    from selfsup_bench.executors import Executor, Job
    from selfsup_bench.executors.base import Machine

ON_GPU = 6
"""Cells at a time on a GPU that the plan assumes; the real number depends on their memory."""


def machine_here(
    *, jobs: int = 0, threads: int = 1, device: str = "auto", executor: str = "local", options: dict[str, str] | None = None
) -> Machine:
    """Where the cells of own data run.

    Args:
        jobs: cells at a time; 0: one a core that ``threads`` leave free, and on a GPU as many as fit.
        threads: CPU threads of a cell.
        device: ``auto``, ``cpu`` or ``gpu``.
        executor: id of an executor.
        options: of the executor.

    Raises:
        UnknownIdError: there is no such executor.
        BenchmarkError: it needs a package that is not installed.
    """
    from selfsup.registry import registry
    from selfsup.runtime import cpu_count
    from selfsup_bench.executors.base import Machine

    found, kind = registry(), device_kind(device)
    cores = max(1, cpu_count() // threads)
    return Machine(
        registry=found,
        make_executor=executor_factory(found, executor, jobs=jobs, options=options or {}),
        jobs=jobs or (cores if kind == "cpu" else min(cores, ON_GPU)),
        threads=threads,
        device=device,
        kind=kind,
        say=lambda line: click.echo(line, err=True),
    )


def parse_pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    """``("a=1", "b=x")`` as a dict.

    Raises:
        ConfigError: one has no ``=``.
    """
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--executor-option {pair!r} is not of the form KEY=VALUE.")
    return dict(pair.split("=", 1) for pair in pairs)


def device_kind(device: str) -> str:
    """``cpu`` or ``cuda``, as the cells of this machine will find it."""
    if device == "cpu":
        return "cpu"
    import torch

    return "cuda" if device == "gpu" or torch.cuda.is_available() else "cpu"


def executor_factory(
    found: Registry, name: str, *, jobs: int, options: dict[str, str]
) -> Callable[[Callable[[Job], None]], Executor]:
    """How to make the executor, once what to call as a job starts is known.

    Raises:
        UnknownIdError: there is no such executor.
        BenchmarkError: it needs a package that is not installed.
    """
    spec = found.get("executor", name)
    lacking = [module for module in spec.requires if importlib.util.find_spec(module) is None]
    if lacking:
        raise BenchmarkError(f"the executor {name!r} needs {', '.join(lacking)}, which is not installed: {spec.install}")
    kind = found.load(spec)
    return lambda on_start: cast("Executor", kind(parallel=jobs, on_start=on_start, options=options))
