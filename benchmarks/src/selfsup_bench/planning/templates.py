"""Templates of benchmarks: one line of a suite that stands for every objective of a modality, those of other packages too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from selfsup.registry import KNOWN_MODALITIES, BenchmarkSpec, TaskSpec

if TYPE_CHECKING:
    from selfsup.registry import Registry

OWN_DISTRIBUTIONS = frozenset({"selfsup", "selfsup-bench", *KNOWN_MODALITIES.values()})
"""Distributions whose objectives are no other package's."""


def expand(specs: Iterable[BenchmarkSpec], registry: Registry) -> list[BenchmarkSpec]:
    """Put the lines that a template stands for in its place.

    Templates are filled in their order, so that a task that has no place on the backbone of the first one (it needs tokens)
    can have one on that of the second. Templates of modalities that are not installed are kept unchanged.

    Args:
        specs: benchmarks and templates.
        registry: what is installed.

    Returns:
        Benchmarks in the order of ``specs``, those of a template by the ids of their tasks.
    """
    every = list(specs)
    taken = {(suite, spec.task, spec.dataset) for spec in every if not spec.is_template for suite in spec.suites}
    filled: list[BenchmarkSpec] = []
    for spec in every:
        if not spec.is_template or spec.task.partition("/")[0] not in registry.modalities:
            filled.append(spec)
            continue
        for task in _tasks(spec, registry):
            suites = tuple(suite for suite in spec.suites if (suite, task.id, spec.dataset) not in taken)
            if suites:
                taken |= {(suite, task.id, spec.dataset) for suite in suites}
                filled.append(_line(spec, task, suites, registry))
    return filled


def _tasks(template: BenchmarkSpec, registry: Registry) -> list[TaskSpec]:
    modality = template.task.partition("/")[0]
    return [
        task
        for task in registry.tasks.values()
        if task.objective in registry.objectives
        and task.id == f"{modality}/{task.objective}"
        and not (task.needs_labels or task.needs_teacher)
        and (template.objectives == "all" or _of_another_package(task, registry))
        and has_place(task, template.backbone, registry)
    ]


def _of_another_package(task: TaskSpec, registry: Registry) -> bool:
    return registry.provider(registry.get("objective", task.objective))[0] not in OWN_DISTRIBUTIONS


def has_place(task: TaskSpec, backbone: str, registry: Registry) -> bool:
    """Whether a task made of an objective can be trained on a backbone; an empty one is the task's own choice."""
    if not backbone:
        return True
    if task.family == "autoregressive":  # the network must not see what it predicts
        return backbone == registry.get("modality", task.modality).causal_backbone
    tokens = task.needs_tokens or registry.get("objective", task.objective).compares_tokens
    return not tokens or registry.get("backbone", backbone).tokens


def _line(template: BenchmarkSpec, task: TaskSpec, suites: tuple[str, ...], registry: Registry) -> BenchmarkSpec:
    name = task.id.partition("/")[2]
    others = tuple(f"{objective}." for objective in registry.objectives)
    shared = {key: value for key, value in template.overrides.items() if not key.startswith(others)}
    prefix = f"{task.objective}."
    own = {key.removeprefix(prefix): value for key, value in template.overrides.items() if key.startswith(prefix)}
    return replace(
        template,
        id=f"{template.id}-{name}",
        summary=template.summary.replace("*", name) if "*" in template.summary else f"{name}: {template.summary}",
        task=task.id,
        suites=suites,
        objectives="",
        overrides={**shared, **own},
    )
