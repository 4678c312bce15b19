"""Which tasks are tried on own data: those that are registered in the suite ``own``, and others that the user names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

from selfsup.errors import UnknownIdError
from selfsup.registry import BenchmarkSpec, Registry, TaskSpec
from selfsup_bench.cells.cell import BOOSTING, FEW_LABELS
from selfsup_bench.cells.lines import SHARED_PREFIXES
from selfsup_bench.own_data.budget import CONVERGED
from selfsup_bench.own_data.rows.divide_rows import Divided
from selfsup_bench.planning.templates import expand
from selfsup_bench.suites.shared import one_optimizer

SUITE = "own"
FALLBACK = ("simclr", "vicreg", "byol")
"""Objectives that are tried in a modality for which nothing is registered, as far as it has them."""
GPU_PREFIX = "gpu."
"""Overrides that begin with it hold on an accelerator alone."""
_HEADS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {"objective.hidden_dim": 256},
    "byol": {"objective.hidden_dim": 512},
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
}
"""Heads for networks of some hundred dimensions; the papers' are for ResNet-50."""
_CURVE = (2, 5, 20, 50)
"""Labels a class that make the curve beside the headline, if there are enough."""
_CURVE_MINUTES = 10
"""From so much time on there is a curve: its probes take some seconds a cell."""


def candidates(registry: Registry, modality: str, *, names: Sequence[str], device: str) -> list[BenchmarkSpec]:
    """The tasks to try, as benchmarks without data, budget and evaluators.

    Args:
        registry: what is installed.
        modality: of the data.
        names: only tasks that match one of these patterns; those that are not registered in the suite are tried, too. Empty:
            those of the suite.
        device: ``cpu``, or the kind of an accelerator.

    Raises:
        UnknownIdError: a pattern matches no task of the modality that can be tried.
    """
    mine = [spec for spec in registry.benchmarks.values() if spec.suites == (SUITE,) and spec.task.startswith(f"{modality}/")]
    found = {spec.task: spec for spec in expand(mine, registry)}
    chosen = found or {task.id: _of_task(task, found) for task in _fallback(registry, modality)}
    if names:
        able = {task.id: task for task in registry.tasks.values() if task.modality == modality and _can_be_tried(task)}
        chosen = {}
        for pattern in names:
            matching = [id for id in able if fnmatch(id, pattern) or fnmatch(id.partition("/")[2], pattern)]
            if not matching:
                known = ", ".join(id.partition("/")[2] for id in able)
                raise UnknownIdError(f"{modality} has no task {pattern!r} that can be tried on own data; it has {known}.")
            chosen |= {id: found.get(id) or _of_task(able[id], found) for id in matching}
    if not chosen:
        raise UnknownIdError(
            f"the modality {modality!r} has no task that can be tried on own data: no benchmark of the suite 'own', and no "
            "joint-embedding task. Name tasks with --only."
        )
    return [
        replace(spec, overrides=_for_device(spec, device)[0], backbone=_for_device(spec, device)[1]) for spec in chosen.values()
    ]


def _fallback(registry: Registry, modality: str) -> list[TaskSpec]:
    return [registry.tasks[id] for name in FALLBACK if (id := f"{modality}/{name}") in registry.tasks]


def _can_be_tried(task: TaskSpec) -> bool:
    return task.family != "reference" and not task.needs_labels and not task.needs_teacher


def _of_task(task: TaskSpec, others: Mapping[str, BenchmarkSpec]) -> BenchmarkSpec:
    """A benchmark of a task that none is registered of, with the input and the batch of the others of its modality."""
    objective = task.id.partition("/")[2]
    settings: dict[str, Any] = {**one_optimizer(lr=1e-3), "optimization.batch_size": 128, "gpu.optimization.batch_size": 256}
    alike = next((spec for spec in others.values() if not task.backbone or spec.backbone == task.backbone), None)
    example = alike or next(iter(others.values()), None)
    if example is not None:
        kept = ("optimization.", "supervised.", "processor.", "gpu.optimization.", "gpu.processor.")
        networks = ("backbone.", "gpu.backbone", "scratch.") if alike is not None else ()
        settings = {key: value for key, value in example.overrides.items() if key.startswith((*kept, *networks))}
    return BenchmarkSpec(
        id=f"own-{task.id.replace('/', '-')}",
        summary=f"{objective} on the user's own data.",
        task=task.id,
        suites=(SUITE,),
        backbone=alike.backbone if alike is not None else task.backbone,
        overrides={**settings, **_HEADS.get(objective, {})},
        references=example.references if example is not None else (),
    )


def _for_device(spec: BenchmarkSpec, device: str) -> tuple[dict[str, Any], str]:
    """Overrides and backbone for a device."""
    plain = {key: value for key, value in spec.overrides.items() if not key.startswith(GPU_PREFIX)}
    if device == "cpu":
        return plain, spec.backbone
    own = {key.removeprefix(GPU_PREFIX): value for key, value in spec.overrides.items() if key.startswith(GPU_PREFIX)}
    backbone = str(own.pop("backbone", spec.backbone))
    return {key: value for key, value in {**plain, **own}.items() if not (key in own and value is None)}, backbone


def on_data(
    specs: Iterable[BenchmarkSpec], name: str, divided: Divided, *, draws: int, scratch_steps: int, minutes: float
) -> list[BenchmarkSpec]:
    """The benchmarks on the data: its name, evaluators, headline and batches that it can fill.

    Args:
        specs: from :func:`candidates`.
        name: of the data, for people.
        divided: its parts.
        draws: of the few labels.
        scratch_steps: optimizer steps of the training from scratch; from :data:`CONVERGED` on as many as the benchmark says.
        minutes: that the whole benchmark may take.
    """
    few = f"evaluators.{FEW_LABELS}."
    curve = _CURVE if minutes >= _CURVE_MINUTES else ()
    most = 0.9 * divided.n_labelled / _groups(divided)
    counts = [divided.per_class, *(n for n in curve if n != divided.per_class and n <= most)]
    settings = {f"{few}per_class": counts, f"{few}draws": draws, "scratch.min_steps": scratch_steps}
    if scratch_steps < CONVERGED:
        settings["scratch.epochs"] = 1  # so that few steps are few
    made = []
    for spec in specs:
        batch = int(spec.overrides.get("optimization.batch_size", 128))
        batches = {
            "optimization.batch_size": filled(batch, divided.n_train),
            "supervised.optimization.batch_size": filled(batch, divided.n_labelled),
        }
        references = spec.references
        overrides = {**spec.overrides, **settings, **batches}
        if scratch_steps >= CONVERGED:
            overrides["scratch.min_steps"] = max(scratch_steps, int(spec.overrides.get("scratch.min_steps", 0)))
        if BOOSTING not in references:
            overrides = {key: value for key, value in overrides.items() if not key.startswith(f"evaluators.{BOOSTING}.")}
        made.append(
            replace(
                spec,
                dataset=name,
                evaluators=(FEW_LABELS, "linear"),
                headline=f"{FEW_LABELS}.{divided.metric}@{divided.per_class}",
                steps=spec.steps or 1,
                overrides=overrides,
                references=references,
            )
        )
    return made


def _groups(divided: Divided) -> int:
    """Classes, or tenths of the numbers."""
    return len(divided.classes) or 10


def filled(batch: int, rows: int) -> int:
    """A batch size that the rows fill at least twice: halved until they do, and never below 2."""
    while batch > 2 and 2 * batch > rows:
        batch //= 2
    return max(2, min(batch, rows))


def shared_key(spec: BenchmarkSpec) -> str:
    """The same for benchmarks whose references are the same."""
    shared = {
        key: value for key, value in spec.overrides.items() if key.startswith((*SHARED_PREFIXES, "supervised.", "scratch."))
    }
    return f"{spec.backbone} {sorted(shared.items(), key=str)}"
