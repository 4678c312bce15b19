"""The leaderboard: records of all seeds brought together, ranked within each data set, as plain data."""

from __future__ import annotations

import statistics as stdlib_statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from selfsup_bench.cells import BOOSTING, Cell, Kind, Line, other_backbone
from selfsup_bench.own.recommendation import Recommendation
from selfsup_bench.plan import Plan
from selfsup_bench.records import Record
from selfsup_bench.statistics import Estimate, aggregate, direction, estimate, paired_gains


@dataclass(frozen=True, kw_only=True)
class Row:
    """A task or a reference on one data set with one backbone."""

    kind: Kind
    task: str
    backbone: str
    benchmark: str = ""
    """Id of the benchmark; empty for a reference."""
    score: Estimate | None
    """The headline metric; None where a seed is missing."""
    gain: Estimate | None = None
    note: str = ""
    """Why there is no gain, or which reference was better."""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    samples_per_second: float | None = None
    """Median over the seeds."""
    peak_memory: int | None = None
    """Bytes, the most of any seed."""
    seconds: float = 0.0
    """Median over the seeds of the time of a whole cell."""
    device: str = ""
    missing: tuple[str, ...] = ()
    """Names of cells without a result, with what went wrong."""
    keys: tuple[str, ...] = ()
    """Records, seed by seed."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows of one data set, the best first."""

    dataset: str
    modality: str
    headline: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One method over all its data sets."""

    method: str
    modalities: tuple[str, ...]
    benchmarks: int
    gain: Estimate | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """Everything that is shown of a benchmark."""

    suite: str
    seeds: tuple[int, ...]
    tables: tuple[Table, ...]
    aggregates: tuple[Aggregate, ...]
    failures: tuple[tuple[str, str], ...]
    """(cell, error)."""
    recommendation: Recommendation | None = None
    """What to do, of a benchmark of own data; it is shown first."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def build(plan: Plan, records: Mapping[str, Record]) -> Leaderboard:
    """Bring the records of a plan together.

    Args:
        plan: the lines and the keys of their cells.
        records: by key; what is missing or failed leaves its row without a score.
    """
    found = _Found(plan, records)
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in plan.lines:
        groups.setdefault((line.modality, line.spec.dataset, line.spec.headline), []).append(line)
    tables = [
        Table(dataset=dataset, modality=modality, headline=headline, rows=_rows(lines, headline, found))
        for (modality, dataset, headline), lines in groups.items()
    ]
    failures: list[tuple[str, str]] = []
    for cell in plan.cells():
        error = found.error(cell)
        if error:
            failures.append((cell.name, error))
    return Leaderboard(
        suite=plan.suite,
        seeds=plan.seeds,
        tables=tuple(tables),
        aggregates=tuple(_aggregates(plan, tables)),
        failures=tuple(failures),
    )


_WORTHY: Mapping[Kind, str] = {
    "random-init": "the untrained network",
    "raw": "the raw input",
    "boosting": "boosted trees on the raw input",
}


def worthy(kind: Kind) -> str:
    """What notes call a reference that a task ought to beat; empty for those that it need not (``supervised``)."""
    if kind.startswith("raw-"):
        return f"the raw input ({kind.removeprefix('raw-')})"
    if backbone := other_backbone(kind):
        return f"supervised {backbone}"
    return _WORTHY.get(kind, "")


class _Found:
    """Looks up the records of cells."""

    def __init__(self, plan: Plan, records: Mapping[str, Record]) -> None:
        self.plan = plan
        self.records = records

    def record(self, cell: Cell) -> Record | None:
        record = self.records.get(self.plan.key(cell))
        return record if record is not None and record.status == "done" else None

    def error(self, cell: Cell) -> str:
        record = self.records.get(self.plan.key(cell))
        if record is None:
            return "not run yet"
        return record.error if record.status == "failed" else ""

    def values(self, cells: Iterable[Cell], metric: str) -> list[float] | None:
        """The metric of each cell, or None if it is missing for any."""
        values: list[float] = []
        for cell in cells:
            record = self.record(cell)
            if record is None or metric not in record.metrics:
                return None
            values.append(record.metrics[metric])
        return values


def _rows(lines: Sequence[Line], headline: str, found: _Found) -> tuple[Row, ...]:
    sign = direction(headline)
    rows: dict[tuple[str, ...], Row] = {}
    for line in lines:
        scores = {kind: found.values(cells, headline_of(kind, headline)) for kind, cells in line.cells.items()}
        for kind, cells in line.cells.items():
            if kind == "task":
                gain, note = _gain(scores, sign)
                row = _row(kind, cells, headline, found, benchmark=line.spec.id, gain=gain, note=note)
                rows[line.spec.id,] = row
            else:
                rows.setdefault((kind, *(cell.key({}) for cell in cells)), _row(kind, cells, headline, found))
    return tuple(sorted(rows.values(), key=_rank(sign)))


def headline_of(kind: Kind, headline: str) -> str:
    """The metric that a row is ranked by: the headline, which boosted trees have by an evaluator of their own."""
    return f"{BOOSTING}.{headline.partition('.')[2]}" if kind == "boosting" else headline


def _rank(sign: int) -> Callable[[Row], tuple[bool, float]]:
    return lambda row: (row.score is None, -sign * row.score.mean if row.score is not None else 0.0)


def _gain(scores: Mapping[Kind, list[float] | None], sign: int) -> tuple[Estimate | None, str]:
    task, random, supervised = scores["task"], scores["random-init"], scores["supervised"]
    if task is None or random is None or supervised is None:
        return None, "a cell is missing"
    notes: list[str] = []
    mean = {kind: sum(values) / len(values) for kind, values in scores.items() if values}
    notes.extend(f"{name} is better" for kind in mean if (name := worthy(kind)) and sign * mean["task"] < sign * mean[kind])
    gains = paired_gains(task, random, supervised, sign=sign)
    if gains is None:
        return None, "; ".join(["labels give no advantage over the untrained network, so there is no scale", *notes])
    return estimate(gains), "; ".join(notes)


def _row(
    kind: Kind,
    cells: Sequence[Cell],
    headline: str,
    found: _Found,
    *,
    benchmark: str = "",
    gain: Estimate | None = None,
    note: str = "",
) -> Row:
    records = [record for cell in cells if (record := found.record(cell)) is not None]
    names = sorted({name for record in records for name in record.metrics})
    metrics = {name: estimate(values) for name in names if (values := found.values(cells, name))}
    speeds = [record.samples_per_second for record in records if record.samples_per_second]
    memory = [record.peak_memory for record in records if record.peak_memory]
    return Row(
        kind=kind,
        task=cells[0].task,
        backbone=cells[0].backbone,
        benchmark=benchmark,
        score=metrics.get(headline_of(kind, headline)),
        gain=gain,
        note=note,
        metrics=metrics,
        samples_per_second=stdlib_statistics.median(speeds) if speeds else None,
        peak_memory=max(memory, default=None),
        seconds=stdlib_statistics.median([record.seconds.get("total", 0.0) for record in records]) if records else 0.0,
        device=", ".join(sorted({record.device for record in records})),
        missing=tuple(f"{cell.name}: {error}" for cell in cells if (error := found.error(cell))),
        keys=tuple(found.plan.key(cell) for cell in cells),
    )


def _aggregates(plan: Plan, tables: Sequence[Table]) -> list[Aggregate]:
    """Methods in more than one benchmark; with one, the aggregate would repeat its gain."""
    rows = {row.benchmark: row for table in tables for row in table.rows if row.benchmark}
    methods: dict[str, list[Line]] = {}
    for line in plan.lines:
        methods.setdefault(line.spec.task.split("/", 1)[-1], []).append(line)
    result: list[Aggregate] = []
    for method, lines in methods.items():
        if len(lines) < 2:
            continue
        gains: dict[str, list[Sequence[float] | None]] = {}
        for line in lines:
            gain = rows[line.spec.id].gain
            gains.setdefault(line.modality, []).append(None if gain is None else gain.values)
        total = aggregate(gains)
        lacking = [line.spec.id for line in lines if rows[line.spec.id].gain is None]
        note = f"no gain for {', '.join(lacking)}" if lacking else ""
        result.append(Aggregate(method=method, modalities=tuple(gains), benchmarks=len(lines), gain=total, note=note))
    return sorted(result, key=lambda item: (item.gain is None, -item.gain.mean if item.gain is not None else 0.0))
