"""The matrix across modalities: which method gains how much where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from selfsup.registry import FAMILIES
from selfsup_bench.cells.lines import Line
from selfsup_bench.leaderboard.board import Matrix, MatrixCell, MatrixRow, Row, Table
from selfsup_bench.leaderboard.rows import Found
from selfsup_bench.planning.plan import Plan
from selfsup_bench.statistics.estimates import Estimate, aggregate, estimate, is_unclear


def matrix_of(plan: Plan, tables: Sequence[Table], found: Found) -> Matrix:
    """Every method of a plan in each modality that has a benchmark of it.

    A method is a task without its modality, so that an objective of a third party fills a row and its modality a column.
    """
    rows = {row.benchmark: (row, table.headline) for table in tables for row in table.rows if row.benchmark}
    modalities = tuple(dict.fromkeys(line.modality for line in plan.lines))
    methods: dict[str, list[Line]] = {}
    for line in plan.lines:
        methods.setdefault(line.method, []).append(line)
    made = [_row(method, lines, modalities, rows, found) for method, lines in methods.items()]
    order = {family: place for place, family in enumerate(FAMILIES)}
    return Matrix(modalities=modalities, rows=tuple(sorted(made, key=lambda row: _place(row, order))))


def _place(row: MatrixRow, order: Mapping[str, int]) -> tuple[int, str, float, str]:
    """By family, then the widest spread over modalities, then by name."""
    return order.get(row.family, len(order)), row.family, -len(row.cells), row.name.lower()


def _row(
    method: str, lines: Sequence[Line], modalities: Sequence[str], rows: Mapping[str, tuple[Row, str]], found: Found
) -> MatrixRow:
    cells: dict[str, MatrixCell] = {}
    gains: dict[str, list[Sequence[float] | None]] = {}
    for modality in modalities:
        own = [line for line in lines if line.modality == modality]
        if not own:
            continue
        cells[modality] = _cell(own, [rows[line.spec.id] for line in own], found)
        per_set = [rows[line.spec.id][0].gain for line in own]
        gains[modality] = [None if gain is None else gain.values for gain in per_set]
    return MatrixRow(
        method=method,
        name=lines[0].name,
        family=lines[0].family,
        cells=cells,
        mean=aggregate(gains) if len(cells) > 1 else None,
    )


def _cell(lines: Sequence[Line], rows: Sequence[tuple[Row, str]], found: Found) -> MatrixCell:
    kinds = ("task", "random-init", "supervised")
    needed = [cell for line in lines for kind in kinds for cell in line.cells[kind]]
    lacking = [cell for cell in needed if found.error(cell)]
    score = _score(rows)
    if lacking:
        failed = [cell for cell in lacking if found.failed(cell)]
        first = (failed or lacking)[0]
        return MatrixCell(state="failed" if failed else "missing", score=score, error=f"{first.name}: {found.error(first)}")
    gain = aggregate({"": [None if row.gain is None else row.gain.values for row, _ in rows]})
    if gain is None or is_unclear(gain):
        notes = "; ".join(dict.fromkeys(row.note for row, _ in rows if row.note))
        return MatrixCell(state="unclear", gain=gain, score=score, error=notes)
    return MatrixCell(state="done", gain=gain, score=score)


def _score(rows: Sequence[tuple[Row, str]]) -> Estimate | None:
    """The mean score over the data sets, seed by seed; of one data set the score itself."""
    scores = [row.score for row, _ in rows]
    known = [score for score in scores if score is not None]
    if len(known) < len(rows) or len({headline for _, headline in rows}) > 1:
        return None
    if len(known) == 1:
        return known[0]
    if len({len(score.values) for score in known}) > 1:
        return None
    return estimate([float(value) for value in np.mean([score.values for score in known], axis=0)])
