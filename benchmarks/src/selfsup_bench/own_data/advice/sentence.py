"""What a benchmark of own data advises, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfsup_bench.leaderboard.board import Comparison, Row
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.wording import change_text, is_share, labels_text, metric_name, score_text, spoken
from selfsup_bench.own_data.advice.recommendation import State
from selfsup_bench.own_data.state import State as Decided
from selfsup_bench.statistics.estimates import Estimate


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the results say, before it is put into words."""

    state: State
    reason: str
    """Why it is unclear regardless of the scores; empty if the scores decide."""
    best: Row
    others: Sequence[Row]
    """The references that have a score, the best first."""
    decisive: Row
    """The reference that the advice is about."""
    against: Mapping[str, Comparison]
    """Row key of a reference to the comparison of the best task with it."""
    head: Headline
    count: int
    """Comparisons of the table, which Holm's correction is for."""
    seeds: int
    decided: Decided


def sentence_of(found: Found) -> str:
    """The advice with its figures."""
    best, others, head, decided, decisive = found.best, found.others, found.head, found.decided, found.decisive
    labels = few_text(head, decided)
    counted = f"{_seeds(found.seeds)} x {decided.draws} draws of the labels, {decided.divided.n_test:,} test rows"
    difference = _difference(found.against[decisive.key].difference, head)
    reached = f"{row_score(best, head)}{range_text(best.score, head)}"
    beside = "; ".join(f"{spoken(row)} {row_score(row, head)}" for row in _shown(others, decisive))
    if found.state == "pretrain":
        return (
            f"Pretrain with {best.task}: {labels} it reaches {_what(head)}{reached}; {beside}. That is {difference} over "
            f"{spoken(decisive)}, the best of them ({counted})."
        )
    if found.state == "do-not-pretrain":
        return (
            f"Do not pretrain here: use {_instead(decisive)}. {labels[0].upper()}{labels[1:]} it reaches {_what(head)}"
            f"{row_score(decisive, head)}, and the best pretext task, {best.task}, {reached}: {difference} ({counted})."
        )
    scores = f"{labels} {best.task} reaches {_what(head)}{reached}; {beside}"
    if found.reason:
        return (
            f"Unclear, since {found.reason}. So far {scores}: {difference} against {spoken(decisive)}, the best of those that "
            f"have a result ({counted})."
        )
    but = ""
    if decisive is not others[0]:
        but = f"It is better than {spoken(others[0])} ({_difference(found.against[others[0].key].difference, head)}), but "
    open_ = f"{but or 'The '}{'the ' if but else ''}difference to {spoken(decisive)} is {difference}{_corrected(found)}"
    return f"Unclear: {scores}. {open_} ({counted})."


def _corrected(found: Found) -> str:
    """That an interval beside zero is not sure, since several comparisons were made."""
    interval = found.against[found.decisive.key].difference.interval
    if interval is None or interval.low <= 0 <= interval.high:
        return ""
    return f", which is not sure after Holm's correction for {found.count} comparisons"


def few_text(head: Headline, decided: Decided) -> str:
    """``with 10 labels a class``; of numbers, as many as one draw has here."""
    text = labels_text(head, decided.divided.drawn or None)
    return text[0].lower() + text[1:]


def _what(head: Headline) -> str:
    """The metric where it is not plain accuracy."""
    return "" if head.metric == "accuracy" else f"{metric_name(head.metric)} "


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


def row_score(row: Row, head: Headline) -> str:
    """``81.0 %``, or ``no result``."""
    return "no result" if row.score is None else score_text(row.score.mean, head.metric)


def _bounds(estimate: Estimate, head: Headline) -> str:
    if estimate.interval is None:
        return ""
    factor, digits = (100.0, 1) if is_share(head.metric) else (1.0, 2)
    low, high = (f"{factor * bound:.{digits}f}" for bound in (estimate.interval.low, estimate.interval.high))
    return f"{low} to {high}"


def range_text(estimate: Estimate | None, head: Headline) -> str:
    """`` (78.2 to 83.8)``; empty if there is no interval."""
    bounds = "" if estimate is None else _bounds(estimate, head)
    return f" ({bounds})" if bounds else ""


def _difference(estimate: Estimate, head: Headline) -> str:
    bounds = _bounds(estimate, head)
    return f"{change_text(estimate, head.metric)}{f' (95 % interval {bounds})' if bounds else ''}"


def _shown(others: Sequence[Row], decisive: Row) -> list[Row]:
    """The reference that decides, the best one, training from scratch and the best of those without a network, each once."""
    wanted = {decisive.key, others[0].key, *(row.key for row in others if row.kind == "scratch")}
    wanted |= {row.key for row in [row for row in others if row.kind not in ("scratch", "random-init")][:1]}
    return [row for row in others if row.key in wanted]


def _instead(row: Row) -> str:
    if row.kind == "scratch":
        return "training from scratch"
    if row.kind == "boosting":
        return "boosted trees on the columns"
    if row.kind == "random-init":
        return "a linear classifier on the untrained network"
    return f"a linear classifier on {row.name}"
