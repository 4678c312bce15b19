"""Two benchmarks side by side: what differs in packages, scores and speed, and whether anything has become worse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from scipy.special import stdtr, stdtrit

from selfsup_bench.cells.cell import Cell, Kind, is_raw, is_supervised
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.rows import Found, by_table, scored_rows
from selfsup_bench.own_data.candidates import SUITE as OWN
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore
from selfsup_bench.statistics.estimates import CONFIDENCE, Estimate, Interval, direction
from selfsup_bench.statistics.scores import Scores, holm

State = Literal["better", "worse", "unclear", "same", "lost"]
"""``same``: not a digit differs; ``lost``: there was a score, and the cell has failed or is missing now, or the whole row."""

GONE = "the second benchmark has no such row"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One metric of one row in both benchmarks."""

    modality: str
    dataset: str
    row: str
    """Key of the row in its table."""
    name: str
    """What people call the row."""
    metric: str
    before: Estimate
    after: Estimate | None = None
    difference: Estimate | None = None
    """After less before."""
    paired: bool = False
    """Whether it is of the same seeds, draws and test rows, and not of two independent scores."""
    p: float | None = None
    """Two-sided; None where a single value says nothing of the spread."""
    p_holm: float | None = None
    """Corrected for all comparisons of the two benchmarks."""
    state: State = "unclear"
    speed: float | None = None
    """Samples a second of pretraining, after over before."""
    error: str = ""
    """Of a score that is lost: why."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two benchmarks, and what differs."""

    before: str
    after: str
    circumstances: Mapping[str, tuple[str, str]]
    """Package, code, data set, device or number of threads to what it was and what it is, where that differs."""
    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    """Rows that only the first one has, and that are not lost: left out on purpose, or without a score."""
    only_after: tuple[str, ...]
    speed: float | None
    """Geometric mean of the rows' speeds, after over before."""

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What has become worse beyond chance, or is lost."""
        return tuple(change for change in self.changes if change.state in ("worse", "lost"))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "regressions": [asdict(change) for change in self.regressions]}


@dataclass(frozen=True)
class _Row:
    """A row of one of the two benchmarks."""

    name: str
    kind: Kind
    cells: tuple[Cell, ...]
    metrics: tuple[str, ...]
    """The headline, and the same with all labels."""
    found: Found
    benchmarks: frozenset[str] = frozenset()
    """Ids of those that have its cells."""

    def seeds(self) -> set[int]:
        return {cell.seed for cell in self.cells}

    def records(self) -> list[Record]:
        return [record for cell in self.cells if (record := self.found.record(cell)) is not None]

    def of(self, seeds: Iterable[int]) -> _Row:
        """With these seeds alone, where they are those of trainings; the seeds of scratch only share the draws out."""
        if is_raw(self.kind) or self.kind == "scratch":
            return self
        wanted = set(seeds)
        return replace(self, cells=tuple(cell for cell in self.cells if cell.seed in wanted))

    def scores(self, metric: str) -> Scores | None:
        return self.found.scores(self.kind, self.cells, metric) if self.cells else None

    def data(self) -> set[str]:
        return {str(record.circumstances.get("data", "")) for record in self.records()}

    def speed(self) -> float | None:
        speeds = [record.samples_per_second for record in self.records() if record.samples_per_second]
        return median(speeds) if speeds else None

    def error(self) -> str:
        return next((error for cell in self.cells if (error := self.found.error(cell))), "").partition("\n")[0]


Place = tuple[str, str, str]
"""Modality, data set, key of the row."""


def compare(before: Path, after: Path) -> Compared:
    """Compare the benchmarks of two folders.

    Rows of the same key on the same data set are compared, on the seeds that both have. The difference is paired over seeds,
    draws of the labels and test rows where the data are the same, else it is of two independent scores. A row has become worse
    or better where p is below 0.05, corrected for all comparisons (Holm 1979, Scandinavian Journal of Statistics 6).

    A row with a score that the second benchmark lacks is lost, unless it was left out on purpose: the second one is of another
    suite or of own data (which takes what there is time for), or its plan says that none of the row's benchmarks was chosen.

    Args:
        before: folder of a benchmark, of this or an earlier version.
        after: of the second benchmark.

    Raises:
        BenchmarkError: a folder holds no benchmark, or one that is damaged or of a later version.
    """
    plans = (Plan.read(before), Plan.read(after))
    one, two = (_rows(plan, RecordStore(folder)) for plan, folder in zip(plans, (before, after), strict=True))
    gone = {place: _lost(place, one[place]) for place in one if place not in two and not _on_purpose(one[place], *plans)}
    changes = [
        change for place in one for change in (_changes(place, one[place], two[place]) if place in two else gone.get(place, ()))
    ]
    corrected = [
        replace(change, p_holm=p_holm, state=_state(change, p_holm))
        for change, p_holm in zip(changes, holm([change.p for change in changes]), strict=True)
    ]
    speeds = {(change.dataset, change.row): change.speed for change in corrected if change.speed}
    return Compared(
        before=str(before),
        after=str(after),
        circumstances=_circumstances(one.values(), two.values()),
        changes=tuple(corrected),
        only_before=tuple(_title(place, one[place]) for place in one if place not in two and not gone.get(place)),
        only_after=tuple(_title(place, two[place]) for place in two if place not in one),
        speed=math.exp(math.fsum(map(math.log, speeds.values())) / len(speeds)) if speeds else None,
    )


def _on_purpose(row: _Row, before: Plan, after: Plan) -> bool:
    """Whether a row that the second benchmark lacks was left out on purpose."""
    return after.suite != before.suite or after.suite == OWN or row.benchmarks <= set(after.not_chosen)


def _rows(plan: Plan, store: RecordStore) -> dict[Place, _Row]:
    records = {key: record for cell in plan.cells() if (record := store.read(key := plan.key(cell))) is not None}
    found = Found(plan, records)
    cells = {plan.key(cell): cell for cell in plan.cells()}
    rows: dict[Place, _Row] = {}
    for (modality, dataset, headline), lines in by_table(plan.lines).items():
        head = Headline(headline)
        for scored in scored_rows(lines, headline, found):
            row = scored.row
            few = () if head.amount and is_supervised(row.kind) else (head.of(row.kind),)
            every = (head.all_labels(row.kind),) if head.amount and row.kind != "scratch" else ()
            own = tuple(cells[key] for key in dict.fromkeys(row.keys))
            ids = frozenset(line.spec.id for line in lines if any(cell in own for each in line.cells.values() for cell in each))
            rows.setdefault((modality, dataset, row.key), _Row(row.name, row.kind, own, (*few, *every), found, ids))
    return rows


def _title(place: Place, row: _Row) -> str:
    return f"{row.name} on {place[1]}"


def _changes(place: Place, one: _Row, two: _Row) -> list[Change]:
    modality, dataset, key = place
    common = one.seeds() & two.seeds()
    first, second = one.of(common), two.of(common)
    before_speed, after_speed = first.speed(), second.speed()
    speed = after_speed / before_speed if before_speed and after_speed else None
    changes = []
    for metric in dict.fromkeys((*two.metrics, *one.metrics)):
        before, after = first.scores(metric), second.scores(metric)
        if before is None or (after is None and metric not in two.metrics):
            continue
        paired = first.data() == second.data() and after is not None and _fit(before, after)
        difference, p = (None, None) if after is None else _paired(before, after) if paired else apart(before, after)
        changes.append(
            Change(
                modality=modality,
                dataset=dataset,
                row=key,
                name=two.name,
                metric=metric,
                before=before.estimate(),
                after=None if after is None else after.estimate(),
                difference=difference,
                paired=paired,
                p=p,
                speed=speed,
                error=second.error() if after is None else "",
            )
        )
    return changes


def _lost(place: Place, row: _Row) -> list[Change]:
    """What a row had that the second benchmark does not have at all."""
    modality, dataset, key = place
    return [
        Change(
            modality=modality,
            dataset=dataset,
            row=key,
            name=row.name,
            metric=metric,
            before=scores.estimate(),
            state="lost",
            error=GONE,
        )
        for metric in row.metrics
        if (scores := row.scores(metric)) is not None
    ]


def _fit(one: Scores, two: Scores) -> bool:
    """Whether the seeds can be paired."""
    return 1 in (len(one.values), len(two.values)) or len(one.values) == len(two.values)


def _paired(before: Scores, after: Scores) -> tuple[Estimate, float | None]:
    difference = after - before
    return difference.estimate(), difference.p_value()


def apart(before: Scores, after: Scores) -> tuple[Estimate, float | None]:
    """The difference of two independent scores (Welch 1947, Biometrika 34)."""
    mean = after.mean - before.mean
    spreads = (before.spread(), after.spread())
    if spreads[0] is None or spreads[1] is None:
        return Estimate(mean, None, ()), None
    variances = [spread.variance for spread in spreads if spread is not None]
    variance = math.fsum(variances)
    below = math.fsum(v**2 / spread.df for v, spread in zip(variances, spreads, strict=True) if spread is not None)
    if variance == 0 or below == 0:
        return Estimate(mean, Interval(mean, mean, "student-t"), ()), float(mean == 0)
    df = variance**2 / below
    half = float(stdtrit(df, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    p = float(2 * stdtr(df, -abs(mean) / math.sqrt(variance)))
    return Estimate(mean, Interval(mean - half, mean + half, "student-t"), ()), p


def _state(change: Change, p_holm: float | None) -> State:
    if change.after is None or change.difference is None:
        return "lost"
    if change.after.values == change.before.values:
        return "same"
    if p_holm is None or p_holm >= 1 - CONFIDENCE:
        return "unclear"
    return "better" if direction(change.metric) * change.difference.mean > 0 else "worse"


def _circumstances(one: Iterable[_Row], two: Iterable[_Row]) -> dict[str, tuple[str, str]]:
    before, after = _seen(one), _seen(two)
    return {name: (before[name], after[name]) for name in sorted(before.keys() & after.keys()) if before[name] != after[name]}


def _seen(rows: Iterable[_Row]) -> dict[str, str]:
    """What the cells were run with: a name to one value, or to several that are all there."""
    seen: dict[str, set[str]] = {}
    for row in rows:
        for record in row.records():
            around = record.circumstances
            for package, version in around.get("versions", {}).items():
                seen.setdefault(package, set()).add(str(version))
            seen.setdefault(f"code of {row.cells[0].modality}", set()).add(str(around.get("code", ""))[:8])
            if "harness" in around:
                seen.setdefault("code of the harness", set()).add(str(around["harness"])[:8])
            seen.setdefault(f"data {record.cell.dataset}", set()).add(str(around.get("data", ""))[:12])
            seen.setdefault("device", set()).add(record.device)
            seen.setdefault("threads", set()).add(str(around.get("threads", "")))
    return {name: ", ".join(sorted(values)) for name, values in seen.items()}
