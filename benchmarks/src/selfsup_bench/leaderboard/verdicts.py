"""Is pretraining worth it on a data set? One sentence, and what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from selfsup_bench.leaderboard.board import Comparison, Row, Verdict
from selfsup_bench.leaderboard.comparisons import is_worthy
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.wording import change_text, interval_text, labels_text, metric_name, score_text, spoken
from selfsup_bench.statistics.estimates import direction
from selfsup_bench.statistics.scores import Scores, Source

State = Literal["pays", "unclear", "does-not-pay"]
_ADVICE: Mapping[Source, str] = {
    "seeds": "Most of the doubt is from the seeds: run more of them.",
    "draws": "Most of the doubt is from which rows have labels: use more labels a class, or more draws of them.",
    "rows": "Most of the doubt is from the test rows: use more of them.",
}
_SMALL_POOL = 0.2
"""Overlap of two draws above which more draws add little."""
_LABEL_MORE = "Most of the doubt is from which rows have labels, and the draws share many: label more rows."
_ONE_POOL = "Each draw has all labelled rows, so that what other rows would give is not known: label more rows."
_ONE_SEED = "This is one seed: how much seeds differ is not known."


def verdict_of(rows: Sequence[Row], scores: Mapping[str, Scores], headline: str, labelled: int | None = None) -> Verdict:
    """The verdict on one table.

    Pretraining pays if a task (:func:`champion`) is better than every reference that has no more labels (random-init, training
    from scratch, raw features, boosted trees), each difference being sure after Holm's correction. It does not pay if one of
    them is surely better than the best task. If a cell of a task or of such a reference is missing, there is no verdict.

    Args:
        rows: of the table, with their comparisons.
        scores: row key to its scores.
        headline: the metric that they are of.
        labelled: labelled rows of a draw, if it is known.
    """
    better = direction(headline)
    wanted = [row for row in rows if row.kind == "task" or is_worthy(row.kind)]
    # A reference that ran and has no such metric (raw features have no parts to retrieve by) is nothing to compare with.
    needed = [row for row in wanted if row.kind == "task" or row.score is not None or row.missing]
    lacking = [row for row in needed if row.score is None]
    if lacking:
        return Verdict(state="incomplete", sentence=_incomplete(lacking))
    worth = _worth(better)
    best = champion([row for row in needed if row.kind == "task"], sign=better)
    others = sorted((row for row in needed if row.kind != "task"), key=worth, reverse=True)
    if not others:
        return Verdict(state="unclear", sentence=f"{spoken(best)} has no reference to compare with.", best=best.key)
    against = {comparison.other: comparison for comparison in best.comparisons}
    state = _state(list(against.values()))
    decisive = decisive_reference(state, others, against)
    head = Headline(headline)
    count = sum(len(row.comparisons) for row in rows)
    one_seed = len(scores[best.key].values) == 1
    spread = (scores[best.key] - scores[decisive.key]).spread() if state == "unclear" else None
    sentences = [
        _scores(best, others, head, labelled),
        _conclusion(state, decisive, others[0], against, head, count),
        _ONE_SEED if one_seed else "",
        _ONE_POOL if scores[best.key].one_pool else "",
        "" if spread is None else _advice(spread.largest, scores[best.key].overlap),
        _with_all_labels(best, others, head),
    ]
    return Verdict(
        state=state,
        sentence=" ".join(sentence for sentence in sentences if sentence),
        best=best.key,
        reference=others[0].key,
        difference=against[others[0].key].difference,
        evidence=_evidence(best, others, against, head, count),
        doubt="" if spread is None else spread.largest,
    )


def _advice(doubt: Source, overlap: float) -> str:
    return _LABEL_MORE if doubt == "draws" and overlap > _SMALL_POOL else _ADVICE[doubt]


def champion(tasks: Sequence[Row], *, sign: int) -> Row:
    """The task that a verdict is of: the best of those that surely beat every reference; if none does, the best.

    A task that is higher in the mean, but so uneven over its seeds that nothing is sure of it, is no better advice.

    Args:
        tasks: at least one, each with a score and its comparisons.
        sign: 1 where more is better, -1 where less is.
    """
    sure = [row for row in tasks if row.comparisons and all(each.verdict == "better" for each in row.comparisons)]
    return max(sure or tasks, key=_worth(sign))


def _worth(sign: int) -> Callable[[Row], float]:
    return lambda row: sign * row.score.mean if row.score is not None else float("-inf")


def _incomplete(lacking: Sequence[Row]) -> str:
    cells = [cell for row in lacking for cell in row.missing]
    first = cells[0].splitlines()[0] if cells else f"{lacking[0].name} has no score with this metric"
    more = f", and {len(cells) - 1} more" if len(cells) > 1 else ""
    return f"No verdict, since a result is missing: {first}{more}."


def _state(comparisons: Sequence[Comparison]) -> State:
    if any(comparison.verdict == "worse" for comparison in comparisons):
        return "does-not-pay"
    return "pays" if all(comparison.verdict == "better" for comparison in comparisons) else "unclear"


def _shown(others: Sequence[Row]) -> list[Row]:
    """Training from scratch first, then by score; the untrained network only if nothing beats it."""
    kept = [row for row in others if row.kind != "random-init" or row is others[0]]
    return sorted(kept, key=lambda row: row.kind != "scratch")


def _scores(best: Row, others: Sequence[Row], head: Headline, labelled: int | None) -> str:
    metric = head.metric
    name = "" if metric == "accuracy" else f"{metric_name(metric)} "
    parts = [f"{labels_text(head, labelled)} {best.name} reaches {name}{_score(best, metric)}"]
    parts.extend(f"{spoken(row)} {_score(row, metric)}" for row in _shown(others))
    return "; ".join(parts) + "."


def _score(row: Row, metric: str) -> str:
    return score_text(row.score.mean, metric) if row.score is not None else "no result"


def decisive_reference(state: State, others: Sequence[Row], against: Mapping[str, Comparison]) -> Row:
    """The reference that the conclusion is about: the best one, unless another one decides.

    Args:
        state: of the conclusion.
        others: the references, the best first.
        against: row key to the comparison with the best task.
    """
    if state == "does-not-pay":
        return next(row for row in others if against[row.key].verdict == "worse")
    if state == "unclear" and against[others[0].key].verdict == "better":
        return max(
            (row for row in others if against[row.key].verdict != "better"), key=lambda row: against[row.key].p_holm or 0
        )
    return others[0]


def _conclusion(
    state: State, decisive: Row, reference: Row, against: Mapping[str, Comparison], head: Headline, count: int
) -> str:
    comparison = against[decisive.key]
    over = "over" if direction(head.text) * comparison.difference.mean > 0 else "against"
    known = f"{change_text(comparison.difference, head.metric)} {over} {spoken(decisive)}"
    interval = comparison.difference.interval
    if interval is not None:
        known += f" ({interval_text(comparison.difference, head.metric)}"
        apart = interval.low > 0 or interval.high < 0
        known += f"; not sure after Holm's correction for {count} comparisons)" if state == "unclear" and apart else ")"
    if state == "pays":
        return f"Pretraining pays: {known}."
    if state == "does-not-pay":
        return f"Pretraining does not pay: {known}."
    if decisive is not reference:
        return f"Whether pretraining pays is unclear: it is better than {spoken(reference)}, but {known}."
    return f"Whether pretraining pays is unclear: {known}."


def _with_all_labels(best: Row, others: Sequence[Row], head: Headline) -> str:
    if best.all_labels is None:
        return ""
    known = [(spoken(row), row.all_labels) for row in _shown(others) if row.all_labels is not None]
    parts = [f"With all labels it reaches {score_text(best.all_labels.mean, head.metric)}"]
    parts.extend(f"{name} {score_text(score.mean, head.metric)}" for name, score in known)
    return "; ".join(parts) + "."


def _evidence(
    best: Row, others: Sequence[Row], against: Mapping[str, Comparison], head: Headline, count: int
) -> tuple[str, ...]:
    lines: list[str] = []
    for row in others:
        comparison = against[row.key]
        details = [interval_text(comparison.difference, head.metric)]
        if comparison.p_holm is not None:
            below = "p < 0.001" if comparison.p_holm < 0.001 else f"p = {comparison.p_holm:.3f}"
            details.append(f"{below} after Holm's correction for {count} comparisons" if count > 1 else below)
        known = "; ".join(detail for detail in details if detail) or "no interval is known"
        lines.append(f"{best.name} against {spoken(row)}: {change_text(comparison.difference, head.metric)} ({known}).")
    if best.gain is not None and not best.unclear:
        far = f"{100 * best.gain.mean:.0f} %"
        interval = best.gain.interval
        known = f" (95 % interval {100 * interval.low:.0f} to {100 * interval.high:.0f})" if interval is not None else ""
        probed = ", both probed with the same few labels" if head.amount else ""
        lines.append(
            f"Gain: {far} of the way from the untrained network to the one that was trained with all labels{probed}{known}."
        )
    return tuple(lines)
