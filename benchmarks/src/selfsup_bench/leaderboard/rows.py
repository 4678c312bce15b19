"""The rows of a table: the records of a line's cells, seed by seed, brought together."""

from __future__ import annotations

import statistics as stdlib_statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selfsup_bench.cells.cell import Cell, Kind, is_raw, is_supervised
from selfsup_bench.cells.lines import Line
from selfsup_bench.leaderboard.board import Row
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Labels, Record
from selfsup_bench.statistics.estimates import Estimate, direction, estimate, is_unclear, paired_gains
from selfsup_bench.statistics.scores import Scores, stacked

NO_SCALE = "labels give no advantage over the untrained network, so there is no scale"
INCOMPLETE = "a cell is missing"
REFERENCE_NAMES: Mapping[Kind, str] = {
    "random-init": "random init",
    "scratch": "from scratch",
    "supervised": "supervised",
    "raw": "raw input",
    "boosting": "boosted trees",
}


@dataclass(frozen=True)
class Found:
    """Looks up the records of cells."""

    plan: Plan
    records: Mapping[str, Record]

    def record(self, cell: Cell) -> Record | None:
        """That of a cell which is done."""
        record = self.records.get(self.plan.key(cell))
        return record if record is not None and record.status == "done" else None

    def failed(self, cell: Cell) -> bool:
        """Whether it was run, and failed."""
        record = self.records.get(self.plan.key(cell))
        return record is not None and record.status == "failed"

    def error(self, cell: Cell) -> str:
        """Why it has no result; empty where it has."""
        record = self.records.get(self.plan.key(cell))
        if record is None:
            return "not run yet"
        return (record.error or "no reason given") if record.status == "failed" else ""

    def labelled(self, cells: Iterable[Cell], metric: str) -> int | None:
        """Labelled rows of a draw, as the records of these cells say it; None where none does."""
        labels = labels_of([record for cell in cells if (record := self.record(cell)) is not None], metric)
        return None if labels is None else labels.drawn

    def scores(self, kind: Kind, cells: Sequence[Cell], metric: str) -> Scores | None:
        """A metric over the seeds and draws, or None if it is missing for any cell."""
        once = cells[:1] if is_raw(kind) else cells
        records = [self.record(cell) for cell in once]
        found = [record for record in records if record is not None]
        if len(found) < len(records) or not found:
            return None
        if all(metric in record.draws for record in found):
            made = _shared_out(found, metric) if kind == "scratch" else _crossed(found, metric)
            labels = labels_of(found, metric)
            return made if made is None or labels is None else replace(made, overlap=labels.overlap)
        if any(metric not in record.metrics for record in found):
            return None
        return Scores(np.asarray([[record.metrics[metric]] for record in found], dtype=np.float64))


def labels_of(records: Iterable[Record], metric: str) -> Labels | None:
    """How many labels a metric is of; None for one of all labels, and where no record says it."""
    amount = Headline(metric).amount
    return next((record.labels[amount] for record in records if amount in record.labels), None)


def _crossed(found: Sequence[Record], metric: str) -> Scores | None:
    values = stacked([record.draws for record in found], metric)
    return None if values is None else Scores(values, stacked([record.rows for record in found], metric))


def _shared_out(found: Sequence[Record], metric: str) -> Scores:
    """The seeds of ``scratch`` have other draws each: together they are one row of all draws."""
    draws = [record.draws[metric] for record in found]
    rows = stacked([record.rows for record in found], metric)
    weighted = None if rows is None else np.average(rows, axis=0, weights=[len(each) for each in draws])[None, :]
    return Scores(np.asarray([[value for each in draws for value in each]], dtype=np.float64), weighted)


@dataclass(frozen=True)
class Scored:
    """A row, and the scores behind it."""

    row: Row
    scores: Scores | None


def by_table(lines: Iterable[Line]) -> dict[tuple[str, str, str], list[Line]]:
    """Modality, data set and headline to the lines of their table."""
    tables: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        tables.setdefault((line.modality, line.spec.dataset, line.spec.headline), []).append(line)
    return tables


def scored_rows(lines: Sequence[Line], headline: str, found: Found) -> list[Scored]:
    """The tasks and references of one data set, without comparisons and ranks; each reference once."""
    head = Headline(headline)
    tasks: list[Scored] = []
    references: dict[tuple[Kind, tuple[str, ...]], Scored] = {}
    for line in lines:
        for kind, cells in line.cells.items():
            if kind == "task":
                tasks.append(_task(line, head, found))
                continue
            # Those of all labels are a part of the row of training from scratch.
            labels = line.cells["supervised"] if kind == "scratch" else cells
            place = (kind, tuple(cell.key({}) for cell in (*cells, *labels)))
            if place not in references:
                references[place] = _scored(kind, cells, labels, head, found, _reference_name(kind, cells[0], line))
    return _distinct([*tasks, *references.values()])


def _task(line: Line, head: Headline, found: Found) -> Scored:
    cells = line.cells["task"]
    made = _scored("task", cells, cells, head, found, line.name)
    gain, note = gain_of(line, head, found)
    row = replace(
        made.row, key=line.spec.id, benchmark=line.spec.id, family=line.family, gain=gain, note=note, unclear=is_unclear(gain)
    )
    return Scored(row, made.scores)


def gain_of(line: Line, head: Headline, found: Found) -> tuple[Estimate | None, str]:
    """The normalised gain over the seeds, each with its own references; or None and the reason."""
    kinds: tuple[Kind, ...] = ("task", "random-init", "supervised")
    scores = [found.scores(kind, line.cells[kind], head.of(kind)) for kind in kinds]
    known = [each.per_seed for each in scores if each is not None]
    if len(known) < len(kinds):
        return None, INCOMPLETE
    gains = paired_gains(known[0], known[1], known[2], sign=direction(head.text))
    return (None, NO_SCALE) if gains is None else (estimate(gains), "")


def _scored(kind: Kind, cells: Sequence[Cell], labels: Sequence[Cell], head: Headline, found: Found, name: str) -> Scored:
    records = [record for cell in cells if (record := found.record(cell)) is not None]
    names = sorted({name for record in records for name in record.metrics})
    every = {name: each for name in names if (each := found.scores(kind, cells, name)) is not None}
    # A probe with few labels on a network that was trained with all of them competes with nothing.
    competes = not (head.amount and is_supervised(kind))
    scores = every.get(head.of(kind)) if competes else None
    all_labels = found.scores(kind, labels, head.all_labels(kind)) if head.all_labels(kind) else None
    speeds = [record.samples_per_second for record in records if record.samples_per_second]
    memory = [record.peak_memory for record in records if record.peak_memory]
    row = Row(
        key="@".join(part for part in (kind, cells[0].backbone) if part),
        kind=kind,
        task=cells[0].task,
        name=name,
        backbone=cells[0].backbone,
        score=None if scores is None else scores.estimate(),
        all_labels=None if all_labels is None else all_labels.estimate(),
        curve=_curve(every, head.metric) if competes else {},
        metrics={name: each.estimate() for name, each in every.items()},
        samples_per_second=stdlib_statistics.median(speeds) if speeds else None,
        peak_memory=max(memory, default=None),
        seconds=stdlib_statistics.median([record.seconds.get("total", 0.0) for record in records]) if records else 0.0,
        device=", ".join(sorted({record.device for record in records})),
        missing=_missing([*cells, *labels], found),
        keys=tuple(found.plan.key(cell) for cell in cells),
    )
    return Scored(row, scores)


def _curve(every: Mapping[str, Scores], metric: str) -> dict[int, Estimate]:
    heads = {name: Headline(name) for name in every}
    counts = {head.per_class: name for name, head in heads.items() if head.per_class and head.metric == metric}
    return {count: every[counts[count]].estimate() for count in sorted(counts)}


def _missing(cells: Iterable[Cell], found: Found) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{cell.name}: {error}" for cell in cells if (error := found.error(cell))))


def _reference_name(kind: Kind, cell: Cell, line: Line) -> str:
    if is_raw(kind) and kind in line.raw_titles:
        return line.raw_titles[kind]
    return reference_name(kind)


def reference_name(kind: Kind) -> str:
    """What a reference is called where the modality says nothing of it."""
    if kind.startswith("raw-"):
        return f"raw input ({kind.removeprefix('raw-')})"
    return REFERENCE_NAMES["supervised" if is_supervised(kind) else kind]


def _distinct(scored: Sequence[Scored]) -> list[Scored]:
    """Keys and names that are each there once: names with the backbone where needed, else with the benchmark or a number."""
    rows = [each.row for each in scored]
    rows = _told_apart(rows, lambda row: row.backbone.rpartition("/")[2])
    rows = _told_apart(rows, lambda row: row.benchmark)
    keys: Counter[str] = Counter()
    names: Counter[str] = Counter()
    result: list[Scored] = []
    for row, each in zip(rows, scored, strict=True):
        keys[row.key] += 1
        names[row.name] += 1
        key = row.key if keys[row.key] == 1 else f"{row.key}#{keys[row.key]}"
        name = row.name if names[row.name] == 1 else f"{row.name} ({names[row.name]})"
        result.append(Scored(replace(row, key=key, name=name), each.scores))
    return result


def _told_apart(rows: Sequence[Row], mark: Callable[[Row], str]) -> list[Row]:
    """Put a mark in brackets after names that several rows have, where the mark differs among them."""
    marks: dict[str, set[str]] = {}
    for row in rows:
        marks.setdefault(row.name, set()).add(mark(row))
    return [replace(row, name=f"{row.name} ({mark(row)})") if len(marks[row.name]) > 1 and mark(row) else row for row in rows]
