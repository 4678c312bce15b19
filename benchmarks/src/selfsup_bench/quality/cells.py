"""From what a quality command is told to the cells of its grid: one way for every modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from selfsup.errors import UnknownIdError
from selfsup_bench.quality.grid_cell import GridCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selfsup.registry import Registry
    from selfsup.registry.specs import TaskSpec


@dataclass(frozen=True, kw_only=True)
class GridData:
    """A data set of a grid."""

    label: str = ""
    """Its label column; empty: it is found."""
    metric: str = ""
    """What is shown; empty: accuracy of classes, mAP where a row may have several, R² of numbers."""
    labels: tuple[str, ...]
    """How many labels are used: ``100``, ``5%``, ``all``."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Config keys for every method."""
    of_backbone: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Backbone to config keys of every method with it, on this data set."""
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Method to config keys of its own, on this data set."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the quality command of a modality compares, unless it is told otherwise."""

    modality: str
    data: Mapping[str, GridData]
    """Name to data set; those that are measured where none is named."""
    other: GridData
    """Settings of a data set that is not among these."""
    tasks: tuple[str, ...]
    """Names of tasks, without their modality."""
    references: tuple[str, ...]
    """Names of references, see :data:`selfsup_bench.quality.grid_cell.REFERENCES`; ``random-init`` is measured always."""
    backbone: str
    """Of ``scratch``, and of an untrained network that is there whatever the tasks' backbones are."""
    single: str = ""
    """Backbone behind the reference ``single-frame``: untrained, and trained with the labels alone; empty: there is none."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """Config keys for every cell."""
    of_backbone: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Backbone to config keys."""

    @property
    def names(self) -> tuple[str, ...]:
        """All references that can be named."""
        return (*self.references, *((SINGLE,) if self.single else ()))


SINGLE = "single-frame"
"""The reference of videos: the same kind of network without any motion to see."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a quality command was told."""

    datasets: tuple[str, ...] = ()
    """Names of data sets; empty: the grid's."""
    methods: tuple[str, ...] = ()
    """Tasks and references; empty: the grid's."""
    labels: str = ""
    """``100,5%,all``; empty: by data set."""
    steps: int
    seeds: int
    finetune: bool = False
    noise: float = 0.0
    """Share of the training labels that is wrong."""


def data_of(grid: Grid, chosen: Chosen) -> dict[str, GridData]:
    """The data sets that are measured."""
    return {name: grid.data.get(name, grid.other) for name in chosen.datasets or grid.data}


def cells_of(grid: Grid, chosen: Chosen, found: Registry) -> list[GridCell]:
    """The cells of a grid, data set by data set and seed by seed.

    Raises:
        UnknownIdError: a method is of no task that learns without labels, and of no reference.
    """
    tasks = chosen_tasks(found, grid.modality, chosen.methods, usual=grid.tasks, references=grid.names)
    usual = found.get("modality", grid.modality).backbone
    backbones = {task.id.partition("/")[2]: task.backbone or usual for task in tasks}
    pairs = [*backbones.items(), *_references(grid, chosen.methods, backbones)]
    return [
        GridCell(
            modality=grid.modality,
            dataset=name,
            label=data.label,
            method=method,
            backbone=backbone,
            seed=seed,
            labels=split_labels(chosen.labels, data.labels),
            label_noise=chosen.noise,
            repeats=1 if chosen.finetune or method == "scratch" else 3,
            steps=chosen.steps,
            finetune_epochs=10,
            finetune=chosen.finetune and method in backbones,
            overrides=tuple(_overrides(grid, data, method, backbone).items()),
        )
        for name, data in data_of(grid, chosen).items()
        for seed in range(chosen.seeds)
        for method, backbone in pairs
    ]


def _references(grid: Grid, methods: Sequence[str], backbones: Mapping[str, str]) -> list[tuple[str, str]]:
    """Methods with their backbones: untrained networks of every kind that a task trains, then the others."""
    wanted = chosen_references(methods, grid.names)
    pairs = [("random-init", backbone) for backbone in sorted({grid.backbone, *backbones.values()})]
    for name in wanted:
        if name == SINGLE:
            pairs += [(method, grid.single) for method in ("random-init", "scratch")]
        elif name != "random-init":
            pairs.append((name, grid.backbone if name == "scratch" else ""))
    return pairs


def _overrides(grid: Grid, data: GridData, method: str, backbone: str) -> dict[str, Any]:
    of_backbone = {**grid.of_backbone.get(backbone, {}), **data.of_backbone.get(backbone, {})}
    return {**grid.shared, **of_backbone, **data.overrides, **data.own.get(method, {})}


def chosen_tasks(
    found: Registry, modality: str, methods: Sequence[str], *, usual: Sequence[str], references: Sequence[str]
) -> list[TaskSpec]:
    """The tasks that were named, else the usual ones.

    Args:
        found: what is installed.
        modality: of the tasks.
        methods: tasks and references that were named; empty: all of ``usual`` and ``references``.
        usual: names of tasks.
        references: names of references.

    Raises:
        UnknownIdError: a name is of no task that learns without labels, and of no reference.
    """
    tasks = {
        task.id.partition("/")[2]: task
        for task in found.tasks.values()
        if task.modality == modality and task.family != "reference" and not (task.needs_labels or task.needs_teacher)
    }
    unknown = sorted(set(methods) - set(tasks) - set(references))
    if unknown:
        listed = ", ".join([*references, *sorted(tasks)])
        raise UnknownIdError(f"there is no method {unknown[0]!r} for {modality}; there are {listed}.")
    return [tasks[name] for name in methods or usual if name in tasks]


def chosen_references(methods: Sequence[str], references: Sequence[str]) -> list[str]:
    """The references that were named, all where nothing was; the untrained network always, since gains are over it."""
    return [name for name in references if not methods or name in methods or name == "random-init"]


def split_labels(text: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    """``100,5%,all`` as a tuple, else the usual settings."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) or usual
