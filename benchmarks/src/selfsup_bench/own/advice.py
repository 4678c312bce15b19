"""From the leaderboard of own data to a recommendation: pretrain or not, with which task, and how to go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from selfsup_bench.board import Comparison, Leaderboard, Row, Table
from selfsup_bench.comparisons import is_worthy
from selfsup_bench.headlines import Headline
from selfsup_bench.own.next_steps import commands
from selfsup_bench.own.recommendation import Recommendation, State
from selfsup_bench.own.schedule import ROUNDS
from selfsup_bench.own.state import State as Decided
from selfsup_bench.progress import duration
from selfsup_bench.statistics import Estimate
from selfsup_bench.wording import change_text, is_share, labels_text, metric_name, score_text, spoken


def advise(board: Leaderboard, decided: Decided, *, out: Path, encoder: Path) -> Recommendation:
    """What to do, as far as the results tell.

    Args:
        board: of this benchmark; its only table is that of the data.
        decided: what was planned.
        out: folder of the benchmark.
        encoder: folder that keeps the encoder of the best task.
    """
    table = board.tables[0]
    tasks = [row for row in table.rows if row.kind == "task" and row.score is not None]
    others = [row for row in table.rows if is_worthy(row.kind) and row.score is not None]
    failed = _failed(table, decided)
    if not tasks or not others:
        reason = next(iter(failed), "the first seed is not finished")
        return Recommendation(
            state="incomplete",
            sentence=f"There is no answer yet: {reason.rstrip('.')}. Go on with --resume.",
            evidence=tuple(failed),
        )
    best = tasks[0]
    against = {comparison.other: comparison for comparison in best.comparisons}
    head = Headline(table.headline)
    state = _state(list(against.values()))
    lacking = [row for row in table.rows if is_worthy(row.kind) and row.score is None]
    if lacking and state == "pretrain":
        state = "unclear"
    # Where one is surely better, that one is named; else the best.
    better = [row for row in others if against[row.key].verdict == "worse"]
    others = [*better, *(row for row in others if row not in better)]
    reference = others[0]
    seeds = len(board.seeds)
    sentence = _sentence(state, best, others, against[reference.key], head, decided, seeds)
    evidence = [
        *_all_labels(tasks, others, head, decided),
        *_others(best, tasks, head),
        *_how_sure(state, against[reference.key], table.verdict.doubt, decided, seeds),
        *_budget(best, decided, state),
        *failed,
    ]
    return Recommendation(
        state=state,
        sentence=sentence,
        evidence=tuple(evidence),
        task=best.task,
        encoder=str(encoder),
        commands=tuple(commands(decided, best.task, out, encoder, pretrains=state != "do-not-pretrain")),
    )


def _state(comparisons: Sequence[Comparison]) -> State:
    if comparisons and all(comparison.verdict == "better" for comparison in comparisons):
        return "pretrain"
    return "do-not-pretrain" if any(comparison.verdict == "worse" for comparison in comparisons) else "unclear"


def _sentence(
    state: State, best: Row, others: Sequence[Row], closest: Comparison, head: Headline, decided: Decided, seeds: int
) -> str:
    labels = _few(head)
    counted = f"{_seeds(seeds)} x {decided.draws} draws of the labels, {decided.divided.n_test:,} test rows"
    difference = _difference(closest.difference, head)
    reached = f"{_score(best, head)}{_range(best.score, head)}"
    if state == "pretrain":
        beside = "; ".join(f"{spoken(row)} {_score(row, head)}" for row in _shown(others))
        return (
            f"Pretrain with {best.task}: {labels} it reaches {_what(head)}{reached}; {beside}. That is {difference} over "
            f"{spoken(others[0])}, the best of them ({counted})."
        )
    if state == "do-not-pretrain":
        better = others[0]
        return (
            f"Do not pretrain here: use {_instead(better)}. {labels[0].upper()}{labels[1:]} it reaches {_what(head)}"
            f"{_score(better, head)}, and the best pretext task, {best.task}, {reached}: {difference} ({counted})."
        )
    beside = "; ".join(f"{spoken(row)} {_score(row, head)}" for row in _shown(others))
    return (
        f"Unclear: {labels} {best.task} reaches {_what(head)}{reached}; {beside}. The difference to {spoken(others[0])} is "
        f"{difference} ({counted})."
    )


def _few(head: Headline) -> str:
    text = labels_text(head)
    return text[0].lower() + text[1:]


def _what(head: Headline) -> str:
    """The metric where it is not plain accuracy."""
    return "" if head.metric == "accuracy" else f"{metric_name(head.metric)} "


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


def _score(row: Row, head: Headline) -> str:
    return "no result" if row.score is None else score_text(row.score.mean, head.metric)


def _bounds(estimate: Estimate, head: Headline) -> str:
    if estimate.interval is None:
        return ""
    factor, digits = (100.0, 1) if is_share(head.metric) else (1.0, 2)
    low, high = (f"{factor * bound:.{digits}f}" for bound in (estimate.interval.low, estimate.interval.high))
    return f"{low} to {high}"


def _range(estimate: Estimate | None, head: Headline) -> str:
    bounds = "" if estimate is None else _bounds(estimate, head)
    return f" ({bounds})" if bounds else ""


def _difference(estimate: Estimate, head: Headline) -> str:
    bounds = _bounds(estimate, head)
    return f"{change_text(estimate, head.metric)}{f' (95 % interval {bounds})' if bounds else ''}"


def _shown(others: Sequence[Row]) -> list[Row]:
    """Training from scratch, the best reference and the best of those without a network, each once."""
    wanted = {others[0].key, *(row.key for row in others if row.kind == "scratch")}
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


def _all_labels(tasks: Sequence[Row], others: Sequence[Row], head: Headline, decided: Decided) -> list[str]:
    """What all labels that there are give, and who is then the best."""
    known = [(row, row.all_labels) for row in (*tasks, *others) if row.all_labels is not None]
    if not known or not any(row.kind == "task" for row, _ in known):
        return []
    known.sort(key=lambda pair: -pair[1].mean)
    best_task = next((row, score) for row, score in known if row.kind == "task")
    best_other = next(((row, score) for row, score in known if row.kind != "task"), None)
    text = (
        f"With all {decided.divided.n_labelled:,} labels {best_task[0].task} reaches "
        f"{score_text(best_task[1].mean, head.metric)}{_range(best_task[1], head)}"
    )
    if best_other is None:
        return [f"{text}."]
    change = best_task[1].mean - best_other[1].mean
    plain = f"{100 * change:+.1f} points" if is_share(head.metric) else f"{change:+.2f}"
    who = f"{spoken(best_other[0])} {score_text(best_other[1].mean, head.metric)}{_range(best_other[1], head)}"
    sign = 1 if _apart(best_task[1], best_other[1], head, decided) else 0
    sign = -1 if _apart(best_other[1], best_task[1], head, decided) else sign
    meaning = {1: "pretraining helps then, too", -1: "pretraining does not help then", 0: "that is no clear difference"}[sign]
    return [f"{text}, the best of the others, {who}: {plain}, so {meaning}."]


def _apart(first: Estimate, second: Estimate, head: Headline, decided: Decided) -> bool:
    """Whether the first one's interval lies above the second's."""
    return first.mean - _half(first, head, decided) > second.mean + _half(second, head, decided)


def _half(estimate: Estimate, head: Headline, decided: Decided) -> float:
    """Half of a 95 % interval: at least what so many test rows leave open of a share."""
    known = estimate.interval.half_width if estimate.interval is not None else 0.0
    if not is_share(head.metric):
        return known or math.inf
    share = min(max(estimate.mean, 0.0), 1.0)
    return max(known, 1.96 * math.sqrt(share * (1 - share) / decided.divided.n_test))


def _others(best: Row, tasks: Sequence[Row], head: Headline) -> list[str]:
    rest = [f"{row.task} {_score(row, head)}" for row in tasks if row is not best]
    if not rest:
        return []
    close = best.rank is not None and best.rank[1] > 1
    sure = " Which of the tasks is the best is not sure yet." if close else ""
    return [f"The other tasks: {', '.join(rest)}.{sure}"]


def _how_sure(state: State, closest: Comparison, doubt: str, decided: Decided, seeds: int) -> list[str]:
    """What would tell more, where it is unclear; what was corrected for, where it is not."""
    if state != "unclear":
        p = closest.p_holm
        one = ["This is one seed: how much seeds differ is not known. More --minutes give more seeds."] if seeds == 1 else []
        return one if p is None else [*one, f"{'p < 0.001' if p < 0.001 else f'p = {p:.3f}'} after Holm's correction."]
    advice = []
    plan = decided.schedule
    if plan is not None and plan.short:
        advice.append(f"more time (--minutes): tasks had {min(plan.steps.values())} steps, which is few")
    elif doubt == "seeds" or seeds < ROUNDS:
        advice.append("more time (--minutes), for more seeds: they differ much, or are few")
    if doubt == "draws":
        advice.append(f"more labels a class (--labels-per-class): much depends on which {decided.divided.per_class} they are")
    if doubt == "rows":
        advice.append(f"more labelled rows: only {decided.divided.n_test:,} are tested on")
    advice.append("a longer run, by the first command below")
    return [f"What would tell: {'; '.join(advice)}."]


def _budget(best: Row, decided: Decided, state: State) -> list[str]:
    plan = decided.schedule
    if plan is None:
        return []
    steps = plan.steps.get(best.benchmark, 0)
    text = f"{best.task} took {steps:,} steps on {decided.divided.n_train:,} rows; all of it took {duration(decided.spent)}."
    if not plan.short or state == "unclear":
        return [text]
    return [f"{text} So few steps teach little: give more --minutes before you decide."]


def _failed(table: Table, decided: Decided) -> list[str]:
    notes = [
        f"{name.removeprefix('own-')} cannot run on this data: {error.splitlines()[0]}"
        for name, error in decided.failed.items()
    ]
    lacking = [row for row in table.rows if row.score is None and (row.kind == "task" or is_worthy(row.kind))]
    return [
        *notes,
        *(
            f"{row.task if row.kind == 'task' else spoken(row)} has no result: {(*row.missing, 'it failed')[0].splitlines()[0]}"
            for row in lacking
        ),
    ]
