"""Lines of a leaderboard: each benchmark with its cells and those of the references that it is compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from selfsup.errors import SpecError
from selfsup.registry import BenchmarkSpec
from selfsup_bench.cells.cell import BOOSTING, FEW_LABELS, Cell, Kind, is_raw, is_supervised

REFERENCES: tuple[Kind, ...] = ("random-init", "supervised", "raw")
"""Those that every benchmark has; those with the evaluator ``few-labels`` have ``scratch``, too."""
OPTIONAL = ("boosting", "raw-NAME", "supervised-BACKBONE")
"""Those that a benchmark may ask for."""
SHARED_PREFIXES = ("backbone.", "processor.", "evaluators.", "optimization.batch_size", "precision")
"""Overrides of a benchmark that hold for its references too; the others belong to its task."""

DRAWS = 10
"""Draws of the few labels, unless a benchmark's ``evaluators.few-labels.draws`` says otherwise."""

SCRATCH_PREFIX = "scratch."
"""``scratch.lr`` is an option of the training from scratch (``FinetuneConfig``)."""
SUPERVISED_PREFIX = "supervised."
"""``supervised.optimization.lr`` is the supervised references' learning rate, and is nothing to the task."""


@dataclass(frozen=True)
class Line:
    """One line of a leaderboard: a benchmark with its cells and those of its references, seed by seed."""

    spec: BenchmarkSpec
    modality: str
    backbone: str
    cells: Mapping[Kind, tuple[Cell, ...]]
    """Kind to one cell a seed: the same one where a seed changes nothing (raw features).

    Of ``scratch`` each cell has other draws of the labels, so that together they have each draw once.
    """
    title: str = ""
    """What people call the method; empty: its id in words."""
    family: str = ""
    """Family of the task."""
    raw_titles: Mapping[Kind, str] = field(default_factory=dict)
    """Kind of raw features to what people call them."""

    @property
    def method(self) -> str:
        """Id of the task without its modality, the same in all modalities."""
        return self.spec.task.partition("/")[2]

    @property
    def name(self) -> str:
        """What people call the method: its title, or its id in words."""
        return self.title or self.method.replace("-", " ")


def lines(
    specs: Iterable[BenchmarkSpec],
    seeds: Sequence[int],
    resolve: Mapping[str, tuple[str, str]],
    *,
    of_parts: Collection[str] = (),
    reading: Mapping[str, Any] | None = None,
) -> list[Line]:
    """The cells of each benchmark.

    Args:
        specs: the benchmarks.
        seeds: the seeds of each.
        resolve: benchmark id to (modality, backbone), the backbone being that of the spec or the task's default.
        of_parts: evaluators that compare embeddings of the parts of a row: raw features are not measured by them.
        reading: of own data, how it is read (:attr:`Cell.reading`).
    """
    result: list[Line] = []
    for spec in specs:
        modality, backbone = resolve[spec.id]
        result.append(Line(spec, modality, backbone, _cells(spec, seeds, modality, backbone, of_parts, reading or {})))
    return result


def _cells(
    spec: BenchmarkSpec,
    seeds: Sequence[int],
    modality: str,
    backbone: str,
    of_parts: Collection[str],
    reading: Mapping[str, Any],
) -> dict[Kind, tuple[Cell, ...]]:
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
            overrides=_without(
                spec.overrides,
                SUPERVISED_PREFIX,
                SCRATCH_PREFIX,
                f"evaluators.{BOOSTING}.",
                *(f"{kind}." for kind in spec.references),
            ),
            reading=reading,
            seed=seed,
        )
        for seed in seeds
    ]
    kinds = (*REFERENCES, *(["scratch"] if FEW_LABELS in spec.evaluators else []), *_asked_for(spec))
    references = {kind: _reference_cells(task, kind, spec.overrides, of_parts) for kind in kinds}
    return {"task": tuple(task), **references}


def _reference_cells(
    task: Sequence[Cell], kind: Kind, overrides: Mapping[str, Any], of_parts: Collection[str]
) -> tuple[Cell, ...]:
    """One cell a seed; raw features do not depend on it, and the seeds of ``scratch`` share the draws of the labels out."""
    cells = [reference(cell, kind, overrides, of_parts) for cell in task]
    if is_raw(kind):
        return tuple(replace(cell, seed=cells[0].seed) for cell in cells)
    if kind != "scratch":
        return tuple(cells)
    prefix = f"evaluators.{FEW_LABELS}."
    total, first = int(overrides.get(f"{prefix}draws", DRAWS)), int(overrides.get(f"{prefix}first_draw", 0))
    shares = [range(total)[place :: len(cells)] for place in range(len(cells))]
    starts = [first + sum(map(len, shares[:place])) for place in range(len(cells))]
    return tuple(
        replace(cell, overrides={**cell.overrides, f"{prefix}first_draw": start, f"{prefix}draws": len(share)})
        for cell, share, start in zip(cells, shares, starts, strict=True)
        if share
    )


def _asked_for(spec: BenchmarkSpec) -> list[Kind]:
    known = ("raw-", "supervised-")
    for kind in spec.references:
        if kind != BOOSTING and not (kind.startswith(known) and kind not in known):
            raise SpecError(f"BenchmarkSpec {spec.id!r} names the reference {kind!r}; there is {', '.join(OPTIONAL)}.")
    trees = [key for key in spec.overrides if key.startswith(f"evaluators.{BOOSTING}.")]
    if trees and BOOSTING not in spec.references:
        raise SpecError(f"BenchmarkSpec {spec.id!r}: {trees[0]} has no effect, as its references do not name {BOOSTING!r}.")
    return list(spec.references)


def _without(overrides: Mapping[str, Any], *prefixes: str) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if not key.startswith(prefixes)}


def reference(cell: Cell, kind: Kind, overrides: Mapping[str, Any], of_parts: Collection[str] = ()) -> Cell:
    """The reference that a task's cell is compared with: same data, backbone, evaluators and seed; supervised: same budget.

    What does not bear on a reference is dropped, so that all tasks on one backbone share it.

    Args:
        cell: of the task.
        kind: of the reference.
        overrides: of the benchmark.
        of_parts: evaluators that raw features are not measured by.
    """
    shared = {key: value for key, value in overrides.items() if key.startswith(SHARED_PREFIXES)}
    trees, few = f"evaluators.{BOOSTING}.", f"evaluators.{FEW_LABELS}."
    if is_raw(kind):  # raw features have no weights to fine-tune
        shared = _without(shared, f"{few}method", f"{few}finetune.")
    if kind == "boosting":
        own = ("processor.", trees, few)
        shared = {key: value for key, value in shared.items() if key.startswith(own)} | _first_amount(overrides)
    else:
        shared = _without(shared, trees)
    if is_supervised(kind):
        # Another network has other options.
        backbone = kind.removeprefix("supervised").removeprefix("-")
        kept = _without(shared, "backbone.") if backbone else shared
        given = {**_own(overrides, SUPERVISED_PREFIX), **_own(overrides, f"{kind}.")}
        return replace(
            cell,
            kind=kind,
            task=f"{cell.modality}/supervised",
            backbone=backbone or cell.backbone,
            overrides={**kept, **given},
        )
    shared = _without(shared, "optimization.", "precision")
    if kind == "scratch":
        return replace(
            cell,
            kind=kind,
            task=f"{cell.modality}/random-init",
            evaluators=(FEW_LABELS,),
            steps=0,
            epochs=0,
            train_rows=0,
            overrides={**_without(shared, "evaluators."), **_scratch_options(overrides)},
        )
    evaluators = cell.evaluators
    if is_raw(kind):
        evaluators = tuple(name for name in evaluators if name not in of_parts)
        shared = _without(shared, "backbone.", *(f"evaluators.{name}." for name in of_parts))
    return replace(
        cell,
        kind=kind,
        task=f"{cell.modality}/{kind}",
        backbone="" if is_raw(kind) else cell.backbone,
        evaluators=(*(name for name in evaluators if name == FEW_LABELS), BOOSTING) if kind == "boosting" else evaluators,
        steps=0,
        epochs=0,
        overrides=shared,
    )


def _scratch_options(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Options of ``few-labels`` that train the whole network, for the first number of labels alone, augmented as supervised."""
    few = f"evaluators.{FEW_LABELS}."
    drawn = ("draws", "first_draw", "label_noise")  # what else says which rows and labels are trained on
    given = {f"{few}{key}": overrides[f"{few}{key}"] for key in drawn if f"{few}{key}" in overrides}
    views = {f"views.{key}": value for key, value in _own(overrides, f"{SUPERVISED_PREFIX}views.").items()}
    # A probe of weights that have learned nothing is no start: from zeros the same training ends 2 to 3 points higher.
    options = {"head": "zeros", **views, **_own(overrides, SCRATCH_PREFIX)}
    own = {f"{few}finetune.{key}": value for key, value in options.items()}
    return {**given, **_first_amount(overrides), f"{few}method": "finetune", **own}


def _first_amount(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``few-labels`` with the headline's amount of labels alone, for what takes too long for a curve."""
    few = f"evaluators.{FEW_LABELS}."
    counts, shares = overrides.get(f"{few}per_class"), overrides.get(f"{few}shares", ())
    if counts:
        return {f"{few}per_class": [counts[0]]} | ({f"{few}shares": []} if shares else {})
    return {} if counts is None else {f"{few}per_class": [], f"{few}shares": list(shares[:1])}


def _own(overrides: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}


def distinct(all_lines: Iterable[Line]) -> list[Cell]:
    """Every cell once: cheap references first, then in turn by seed, so that a whole seed is done early."""

    def cost(kind: Kind) -> int:
        return 0 if is_raw(kind) else 2 if is_supervised(kind) or kind == "scratch" else 3 if kind == "task" else 1

    seen: dict[str, Cell] = {}
    for line in all_lines:
        for cells in line.cells.values():
            for cell in cells:
                seen.setdefault(cell.key({}), cell)
    return sorted(seen.values(), key=lambda cell: (cell.seed, cost(cell.kind), cell.kind))
