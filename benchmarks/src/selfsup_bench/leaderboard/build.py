"""The leaderboard: records of all seeds brought together, compared and ranked within each data set, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from selfsup_bench.cells.lines import Line
from selfsup_bench.leaderboard.board import Leaderboard, Row, Table
from selfsup_bench.leaderboard.comparisons import compared
from selfsup_bench.leaderboard.matrix import matrix_of
from selfsup_bench.leaderboard.rows import Found, by_table, scored_rows
from selfsup_bench.leaderboard.verdicts import verdict_of
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.statistics.estimates import direction


def build(plan: Plan, records: Mapping[str, Record]) -> Leaderboard:
    """Bring the records of a plan together.

    Args:
        plan: the lines and the keys of their cells.
        records: by key; what is missing or failed leaves its row without a score.
    """
    found = Found(plan, records)
    tables = [_table(*place, lines, found) for place, lines in by_table(plan.lines).items()]
    failures = tuple((cell.name, error) for cell in plan.cells() if (error := found.error(cell)))
    return Leaderboard(
        suite=plan.suite,
        seeds=plan.seeds,
        tables=tuple(tables),
        matrix=matrix_of(plan, tables, found),
        failures=failures,
    )


def _table(modality: str, dataset: str, headline: str, lines: Sequence[Line], found: Found) -> Table:
    sign = direction(headline)
    scored = scored_rows(lines, headline, found)
    rows = sorted(compared(scored, sign=sign), key=_rank(sign))
    labelled = found.labelled([cell for line in lines for cells in line.cells.values() for cell in cells], headline)
    scores = {each.row.key: each.scores for each in scored if each.scores is not None}
    return Table(
        dataset=dataset,
        modality=modality,
        headline=headline,
        labelled=labelled,
        rows=tuple(rows),
        verdict=verdict_of(rows, scores, headline, labelled),
    )


def _rank(sign: int) -> Callable[[Row], tuple[bool, float]]:
    return lambda row: (row.score is None, -sign * row.score.mean if row.score is not None else 0.0)
