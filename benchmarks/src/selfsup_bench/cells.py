"""What a cell is: one training and its evaluation, with one seed; and the key that names all that determines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from selfsup.errors import SpecError
from selfsup.specs import BenchmarkSpec

Kind = Literal["task", "random-init", "supervised", "raw", "boosting"]
"""A pretext task, or a reference: the untrained network, training with all labels, the raw features, boosted trees on these."""

REFERENCES: tuple[Kind, ...] = ("random-init", "supervised", "raw")
"""Those that every benchmark has."""
OPTIONAL: tuple[Kind, ...] = ("boosting",)
"""Those that a benchmark may ask for."""
RAW_KINDS: tuple[Kind, ...] = ("raw", "boosting")
"""Those that need no network."""

SHARED_PREFIXES = ("backbone.", "processor.", "evaluators.", "optimization.batch_size", "precision")
"""Overrides of a benchmark that hold for its references too; the others belong to its task."""

BOOSTING = "boosting"
"""The evaluator of the reference of that name, and of no other cell."""

SUPERVISED_PREFIX = "supervised."
"""``supervised.optimization.lr`` is the supervised reference's learning rate, and is nothing to the task."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training and its evaluation. Every field determines the result, and nothing else of the benchmark does."""

    kind: Kind
    modality: str
    task: str
    """Id of the task; of references ``<modality>/<kind>``."""
    dataset: str
    backbone: str = ""
    """Id of the backbone; empty for raw features."""
    evaluators: tuple[str, ...]
    steps: int = 0
    epochs: int = 0
    """Budget, one of the two; both 0 where nothing is trained."""
    train_rows: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int

    @property
    def name(self) -> str:
        """A short name for people and folders."""
        parts = [self.task, self.dataset, self.backbone.rsplit("/", 1)[-1], f"seed{self.seed}"]
        return ".".join(part.replace("/", "-") for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "evaluators": list(self.evaluators), "overrides": dict(self.overrides)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**values, "evaluators": tuple(values["evaluators"])})

    def key(self, circumstances: Mapping[str, Any]) -> str:
        """Hash of the cell and of the circumstances: versions of packages, fingerprint of the data, device.

        Args:
            circumstances: plain JSON values.

        Returns:
            32 hexadecimal digits.
        """
        text = json.dumps({"cell": self.as_dict(), "circumstances": circumstances}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Line:
    """One line of a leaderboard: a benchmark with its cells and those of its references, seed by seed."""

    spec: BenchmarkSpec
    modality: str
    backbone: str
    cells: Mapping[Kind, tuple[Cell, ...]]
    """Kind to one cell a seed."""


def lines(specs: Iterable[BenchmarkSpec], seeds: Sequence[int], resolve: Mapping[str, tuple[str, str]]) -> list[Line]:
    """The cells of each benchmark.

    Args:
        specs: the benchmarks.
        seeds: the seeds of each.
        resolve: benchmark id to (modality, backbone), the backbone being that of the spec or the task's default.
    """
    result: list[Line] = []
    for spec in specs:
        modality, backbone = resolve[spec.id]
        result.append(Line(spec, modality, backbone, _cells(spec, seeds, modality, backbone)))
    return result


def _cells(spec: BenchmarkSpec, seeds: Sequence[int], modality: str, backbone: str) -> dict[Kind, tuple[Cell, ...]]:
    task = [
        Cell(
            kind="task",
            modality=modality,
            task=spec.task,
            dataset=spec.dataset,
            backbone=backbone,
            evaluators=spec.evaluators,
            steps=spec.steps,
            epochs=spec.epochs,
            train_rows=spec.train_rows,
            overrides=_without(spec.overrides, SUPERVISED_PREFIX, f"evaluators.{BOOSTING}."),
            seed=seed,
        )
        for seed in seeds
    ]
    kinds = (*REFERENCES, *_asked_for(spec))
    references = {kind: tuple(reference(cell, kind, spec.overrides) for cell in task) for kind in kinds}
    return {"task": tuple(task), **references}


def _asked_for(spec: BenchmarkSpec) -> list[Kind]:
    unknown = sorted(set(spec.references) - set(OPTIONAL))
    if unknown:
        raise SpecError(f"BenchmarkSpec {spec.id!r} names the reference {unknown[0]!r}; there is {', '.join(OPTIONAL)}.")
    return [kind for kind in OPTIONAL if kind in spec.references]


def _without(overrides: Mapping[str, Any], *prefixes: str) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if not key.startswith(prefixes)}


def reference(cell: Cell, kind: Kind, overrides: Mapping[str, Any]) -> Cell:
    """The reference that a task's cell is compared with: same data, backbone, evaluators and seed; supervised: same budget.

    What does not bear on a reference is dropped, so that all tasks on one backbone share it.

    Args:
        cell: of the task.
        kind: of the reference.
        overrides: of the benchmark.
    """
    shared = {key: value for key, value in overrides.items() if key.startswith(SHARED_PREFIXES)}
    trees = f"evaluators.{BOOSTING}."
    if kind == "boosting":
        shared = {key: value for key, value in shared.items() if key.startswith(("processor.", trees))}
    else:
        shared = _without(shared, trees)
    if kind == "supervised":
        own = {
            key.removeprefix(SUPERVISED_PREFIX): value for key, value in overrides.items() if key.startswith(SUPERVISED_PREFIX)
        }
        return replace(cell, kind=kind, task=f"{cell.modality}/supervised", overrides={**shared, **own})
    shared = _without(shared, "optimization.", "precision")
    if kind in RAW_KINDS:
        shared = _without(shared, "backbone.")
    return replace(
        cell,
        kind=kind,
        task=f"{cell.modality}/{kind}",
        backbone="" if kind in RAW_KINDS else cell.backbone,
        evaluators=(BOOSTING,) if kind == "boosting" else cell.evaluators,
        steps=0,
        epochs=0,
        overrides=shared,
    )


def distinct(all_lines: Iterable[Line]) -> list[Cell]:
    """Every cell once: cheap references first, then in turn by seed, so that a whole seed is done early."""
    order = {"raw": 0, "boosting": 0, "random-init": 1, "supervised": 2, "task": 3}
    seen: dict[str, Cell] = {}
    for line in all_lines:
        for cells in line.cells.values():
            for cell in cells:
                seen.setdefault(cell.key({}), cell)
    return sorted(seen.values(), key=lambda cell: (cell.seed, order[cell.kind]))
