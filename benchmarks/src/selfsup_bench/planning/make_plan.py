"""From the registered benchmarks to a plan: which lines, which seeds, and the key of each cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from selfsup.errors import MissingPluginError, UnknownIdError
from selfsup.registry import BenchmarkSpec, ModalitySpec, TargetSpec, TaskSpec
from selfsup_bench.cells.cell import BOOSTING, Cell, is_raw
from selfsup_bench.cells.lines import Line, distinct, lines
from selfsup_bench.planning.plan import Plan
from selfsup_bench.planning.provenance import DataFingerprints, circumstances
from selfsup_bench.planning.templates import expand
from selfsup_bench.records.record import SCHEMA

if TYPE_CHECKING:
    from selfsup.registry import Registry


@dataclass(frozen=True)
class Planned:
    """A plan, and what each cell's key was made of."""

    plan: Plan
    circumstances: dict[str, dict[str, Any]]
    """Key of a cell to its circumstances."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Key of a cell to why its data cannot be loaded."""
    left_out: tuple[str, ...] = ()
    """Benchmarks of modalities that are not installed, each with the reason."""


def choose(
    specs: Iterable[BenchmarkSpec], *, suite: str, modalities: Sequence[str] = (), only: Sequence[str] = ()
) -> list[BenchmarkSpec]:
    """The benchmarks of a suite.

    Args:
        specs: all that are registered.
        suite: its name.
        modalities: only tasks of these; empty: all.
        only: only those whose id or task matches one of these patterns (``*`` for anything); empty: all.

    Raises:
        UnknownIdError: there is no such suite, or a modality or pattern fits nothing in it.
    """
    every = list(specs)
    suites = sorted({name for spec in every for name in spec.suites})
    if suite not in suites:
        raise UnknownIdError(f"there is no benchmark suite {suite!r}; registered are {', '.join(suites) or 'none'}.")
    chosen = [spec for spec in every if suite in spec.suites]
    for modality in modalities:
        if not any(_modality(spec) == modality for spec in chosen):
            known = ", ".join(sorted({_modality(spec) for spec in chosen}))
            raise UnknownIdError(f"suite {suite!r} has no benchmark of modality {modality!r}; it has {known}.")
    for pattern in only:
        if not any(_matches(spec, pattern) for spec in chosen):
            known = ", ".join(spec.id for spec in chosen)
            raise UnknownIdError(f"suite {suite!r} has no benchmark or task {pattern!r}; its benchmarks are {known}.")
    if modalities:
        chosen = [spec for spec in chosen if _modality(spec) in modalities]
    if only:
        chosen = [spec for spec in chosen if any(_matches(spec, pattern) for pattern in only)]
    if not chosen:
        raise UnknownIdError("no benchmark is left: no one fits --modality and --only together.")
    return chosen


def _modality(spec: BenchmarkSpec) -> str:
    return spec.task.partition("/")[0]


def _matches(spec: BenchmarkSpec, pattern: str) -> bool:
    return any(fnmatch(name, pattern) for name in (spec.id, spec.task, spec.task.partition("/")[2]))


def make_plan(
    specs: Sequence[BenchmarkSpec], *, suite: str, seeds: Sequence[int], registry: Registry, device: str, threads: int
) -> Planned:
    """Resolve every benchmark against what is installed.

    Args:
        specs: from :func:`choose`.
        suite: name for the report.
        seeds: of each benchmark.
        registry: what is installed.
        device: kind of device that the cells will run on; part of the keys.
        threads: CPU threads a cell.

    Raises:
        MissingPluginError: no benchmark is of an installed modality.
        UnknownIdError: a benchmark names a task, backbone, evaluator or data set that is not there.
    """
    kept, resolve, left_out = resolved(specs, registry)
    draft = lines(kept, seeds, resolve, of_parts=of_parts(registry))
    planned = keyed(suite, seeds, draft, registry=registry, device=device, threads=threads, left_out=left_out)
    return replace(planned, plan=replace(planned.plan, not_chosen=_not_chosen(specs, suite, registry)))


def _not_chosen(specs: Iterable[BenchmarkSpec], suite: str, registry: Registry) -> tuple[str, ...]:
    """Ids of a suite's benchmarks that are not among those that were chosen."""
    chosen = {spec.id for spec in specs}
    every = expand(registry.benchmarks.values(), registry)
    return tuple(spec.id for spec in every if suite in spec.suites and spec.id not in chosen)


def resolved(
    specs: Sequence[BenchmarkSpec], registry: Registry
) -> tuple[list[BenchmarkSpec], dict[str, tuple[str, str]], tuple[str, ...]]:
    """The benchmarks of what is installed, the modality and the backbone of each by its id, and what is left out and why.

    Raises:
        MissingPluginError: no benchmark is of an installed modality.
        UnknownIdError: a benchmark names a task or a backbone that is not there.
    """
    kept: list[BenchmarkSpec] = []
    left_out: list[str] = []
    missing: MissingPluginError | None = None
    resolve: dict[str, tuple[str, str]] = {}
    for spec in specs:
        try:
            task = registry.get("task", spec.task)
        except MissingPluginError as error:
            missing = error
            left_out.append(f"{spec.id}: {error}")
            continue
        kept.append(spec)
        backbone = spec.backbone or task.backbone or _default_backbone(registry, task.modality, tokens=task.needs_tokens)
        resolve[spec.id] = (task.modality, backbone)
    if not kept and missing is not None:
        raise missing
    return kept, resolve, tuple(left_out)


def of_parts(registry: Registry) -> frozenset[str]:
    """Evaluators that compare the embeddings of the parts of a row."""
    return frozenset(id for id, spec in registry.evaluators.items() if spec.needs_parts)


def keyed(
    suite: str,
    seeds: Sequence[int],
    draft: Sequence[Line],
    *,
    registry: Registry,
    device: str,
    threads: int,
    left_out: tuple[str, ...] = (),
) -> Planned:
    """A plan of lines, with the key of each cell.

    Args:
        suite: name for the report.
        seeds: of each line.
        draft: the lines.
        registry: what is installed.
        device: kind of device that the cells will run on.
        threads: CPU threads a cell.
        left_out: what could not be planned.

    Raises:
        UnknownIdError: a cell names an evaluator or a data set that is not there.
    """
    draft = [named(line, registry) for line in draft]
    data = DataFingerprints(registry)
    keys: dict[str, str] = {}
    made: dict[str, dict[str, Any]] = {}
    unavailable: dict[str, str] = {}
    known: dict[tuple[frozenset[tuple[str, str]], str], dict[str, Any]] = {}
    for cell in distinct(draft):
        providers = _providers(registry, cell)
        # Of own data the reading names the rows.
        own = str(cell.reading.get("rows", ""))
        fingerprint, trouble = (own, "") if own else data.of(cell.modality, cell.dataset, cell.overrides)
        place = (frozenset(providers), fingerprint)
        if place not in known:  # most cells share theirs, and all sources are read for it
            known[place] = circumstances(
                schema=SCHEMA,
                distributions={distribution for distribution, _ in providers},
                packages={package for _, package in providers},
                data=fingerprint,
                device=device,
                threads=threads,
            )
        key = cell.key(known[place])
        keys[cell.key({})] = key
        made[key] = known[place]
        if trouble:
            unavailable[key] = trouble
    return Planned(Plan(suite, tuple(seeds), tuple(draft), keys), made, unavailable, left_out)


def named(line: Line, registry: Registry) -> Line:
    """A line with the names that people give to its method and to the raw features, so that a report needs no registry.

    Where the modality has no raw features the line goes without that reference.
    """
    task = registry.get("task", line.spec.task)
    modality = registry.get("modality", line.modality)
    others = {kind: kind.removeprefix("raw-") for kind in line.cells if kind.startswith("raw-")}
    raw_titles = {"raw": modality.raw_name(), **{kind: modality.raw_name(name) for kind, name in others.items()}}
    left_out = () if modality.raw_features else ("raw", BOOSTING)
    cells = {kind: cells for kind, cells in line.cells.items() if kind not in left_out}
    return replace(line, cells=cells, title=method_title(task, registry), family=task.family, raw_titles=raw_titles)


def method_title(task: TaskSpec, registry: Registry) -> str:
    """What people call a task's method: its own title, else that of the objective of the same id; empty if neither has one."""
    objective = registry.objectives.get(task.id.partition("/")[2])
    return task.title or (objective.title if objective is not None else "")


def _default_backbone(registry: Registry, modality: str, *, tokens: bool) -> str:
    spec = registry.get("modality", modality)
    return spec.token_backbone if tokens else spec.backbone


def _specs(registry: Registry, cell: Cell) -> list[TargetSpec]:
    """Whatever a cell runs: its task and that one's objective, modality, backbone and evaluators.

    Of a modality that joins others, these too: which of them a row has parts of is known only once it is read.
    """
    specs: list[TargetSpec] = []
    if not is_raw(cell.kind):
        specs.append(task := registry.get("task", cell.task))
        # A composed task's own target is the core's, whoever wrote the objective.
        if task.objective in registry.objectives:
            specs.append(registry.get("objective", task.objective))
    specs.append(modality := registry.get("modality", cell.modality))
    if modality.joins:
        specs.extend(other for other in registry.modalities.values() if not other.joins)
    if cell.backbone:
        specs.append(registry.get("backbone", cell.backbone))
    specs.extend(registry.get("evaluator", name) for name in cell.evaluators)
    return specs


def _providers(registry: Registry, cell: Cell) -> set[tuple[str, str]]:
    """(distribution, import package) of the core and of whatever a cell runs."""
    specs = _specs(registry, cell)
    own = {(registry.provider(spec)[0], package(spec)) for spec in specs}
    # A preset is data of its plugin, and its target is the core's.
    presets = (registry.plugin(spec) for spec in specs if isinstance(spec, TaskSpec) and spec.preset is not None)
    return {("selfsup", "selfsup"), *own, *((plugin.distribution, plugin.module.partition(".")[0]) for plugin in presets)}


def package(spec: TargetSpec) -> str:
    """The import package of a spec's target."""
    return re.split(r"[.:]", spec.target, maxsplit=1)[0]


def modules_of(registry: Registry, specs: Iterable[BenchmarkSpec]) -> tuple[str, ...]:
    """Modules that the cells of benchmarks will import, as far as that is known before they are planned."""
    modules: set[str] = set()
    for spec in specs:
        if _modality(spec) in registry.modalities:
            named: list[TargetSpec] = [registry.get("modality", _modality(spec))]
            named += [registry.get("task", spec.task)] if spec.task in registry.tasks else []
            named += [registry.get("backbone", spec.backbone)] if spec.backbone else []
            modules |= {each.target.partition(":")[0] for each in named}
    return tuple(sorted(modules))


def target_modules(registry: Registry, cells: Iterable[Cell]) -> tuple[str, ...]:
    """Modules that cells will import: those of their tasks, objectives, modalities, backbones, evaluators and views."""
    specs = [spec for cell in cells for spec in _specs(registry, cell)]
    views = [target for spec in specs if isinstance(spec, ModalitySpec) for target in (spec.views, spec.supervised_views)]
    return tuple(sorted({target.partition(":")[0] for target in (*(spec.target for spec in specs), *views) if target}))
