"""Tasks against the references that they have to beat, and against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from selfsup_bench.cells.cell import BOOSTING, Kind, is_raw
from selfsup_bench.leaderboard.board import Comparison, Row
from selfsup_bench.leaderboard.rows import Scored
from selfsup_bench.statistics.estimates import CONFIDENCE
from selfsup_bench.statistics.scores import Scores, holm, rank_intervals


def is_worthy(kind: Kind) -> bool:
    """Whether a task must beat a reference: one with as few labels, which people would use without pretraining."""
    return is_raw(kind) or kind in (BOOSTING, "scratch", "random-init")


def compared(scored: Sequence[Scored], *, sign: int) -> list[Row]:
    """The rows with their comparisons, corrected for all of the table together, and with the ranks of tasks.

    Args:
        scored: of one table.
        sign: 1 where more is better, -1 where less is.
    """
    tasks = [(each.row.key, each.scores) for each in scored if each.row.kind == "task" and each.scores is not None]
    others = [(each.row, each.scores) for each in scored if is_worthy(each.row.kind) and each.scores is not None]
    pairs = [(key, other, scores - against) for key, scores in tasks for other, against in others]
    p_values = [difference.p_value() for _, _, difference in pairs]
    comparisons: dict[str, list[Comparison]] = {key: [] for key, _ in tasks}
    for (key, other, difference), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True):
        verdict = _verdict(difference, p_holm, sign)
        comparisons[key].append(
            Comparison(other=other.key, name=other.name, difference=difference.estimate(), p=p, p_holm=p_holm, verdict=verdict)
        )
    intervals = rank_intervals([scores for _, scores in tasks], sign=sign)
    ranks = dict(zip((key for key, _ in tasks), intervals, strict=True))
    return [
        replace(each.row, comparisons=tuple(comparisons.get(each.row.key, ())), rank=ranks.get(each.row.key)) for each in scored
    ]


def _verdict(difference: Scores, p_holm: float | None, sign: int) -> Literal["better", "worse", "unclear"]:
    if p_holm is None or p_holm >= 1 - CONFIDENCE:
        return "unclear"
    return "better" if sign * difference.mean > 0 else "worse"
