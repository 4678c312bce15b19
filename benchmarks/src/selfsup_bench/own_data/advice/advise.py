"""From the leaderboard of own data to a recommendation: pretrain or not, with which task, and how to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfsup_bench.leaderboard.board import Comparison, Leaderboard, Row, Table
from selfsup_bench.leaderboard.comparisons import is_worthy
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.verdicts import State as Verdict
from selfsup_bench.leaderboard.verdicts import champion, decisive_reference
from selfsup_bench.leaderboard.wording import is_share, score_text, spoken
from selfsup_bench.own_data.advice.next_steps import commands
from selfsup_bench.own_data.advice.recommendation import Recommendation, State
from selfsup_bench.own_data.advice.sentence import Found, range_text, row_score, sentence_of
from selfsup_bench.own_data.budget import CONVERGED
from selfsup_bench.own_data.schedule import ROUNDS
from selfsup_bench.own_data.state import State as Decided
from selfsup_bench.progress import duration
from selfsup_bench.statistics.estimates import Estimate, direction


def advise(board: Leaderboard, decided: Decided, *, out: Path, encoder: Path) -> Recommendation:
    """What to do, as far as the results show.

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
    best = champion(tasks, sign=direction(table.headline))
    against = {comparison.other: comparison for comparison in best.comparisons}
    state = _state(list(against.values()))
    lacking = [row for row in table.rows if is_worthy(row.kind) and row.score is None]
    reason = _reason(state, lacking, others, decided)
    if reason:
        state = "unclear"
    found = Found(
        state=state,
        reason=reason,
        best=best,
        others=others,
        decisive=others[0] if reason else decisive_reference(_VERDICTS[state], others, against),
        against=against,
        head=Headline(table.headline),
        count=sum(len(row.comparisons) for row in table.rows),
        seeds=len(board.seeds),
        decided=decided,
    )
    evidence = [
        *_all_labels(tasks, others, found.head, decided),
        *_others(best, tasks, found.head),
        *([] if reason else _how_sure(found, table.verdict.doubt)),
        *_budget(best, decided, state),
        *_scratch(others, decided),
        *failed,
    ]
    return Recommendation(
        state=state,
        sentence=sentence_of(found),
        evidence=tuple(evidence),
        task=best.task,
        encoder=str(encoder),
        commands=tuple(commands(decided, best.task, out, encoder, pretrains=state != "do-not-pretrain")),
    )


_VERDICTS: Mapping[State, Verdict] = {"pretrain": "pays", "do-not-pretrain": "does-not-pay", "unclear": "unclear"}


def _state(comparisons: Sequence[Comparison]) -> State:
    if comparisons and all(comparison.verdict == "better" for comparison in comparisons):
        return "pretrain"
    return "do-not-pretrain" if any(comparison.verdict == "worse" for comparison in comparisons) else "unclear"


def _reason(state: State, lacking: Sequence[Row], others: Sequence[Row], decided: Decided) -> str:
    """Why there is no answer although the scores may give one: a reference lacks, or was not trained enough."""
    if state == "do-not-pretrain":
        return ""  # one better reference decides, even if another has no result
    if lacking:
        return f"{_no_result(lacking[0])}; try it again with --resume"
    if state == "pretrain" and _cut(others, decided):
        return (
            f"training from scratch was cut to {decided.scratch_steps} steps, and takes about {CONVERGED} to converge; run it "
            f"again with --minutes {math.ceil(decided.enough)} into another --out"
        )
    return ""


def _cut(others: Sequence[Row], decided: Decided) -> bool:
    """Whether training from scratch ended before it converged."""
    return 0 < decided.scratch_steps < CONVERGED and any(row.kind == "scratch" for row in others)


def _no_result(row: Row) -> str:
    reason = (*row.missing, "it failed")[0].splitlines()[0].rstrip(".")
    return f"{row.task if row.kind == 'task' else spoken(row)} has no result: {reason}"


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
        f"{score_text(best_task[1].mean, head.metric)}{range_text(best_task[1], head)}"
    )
    if best_other is None:
        return [f"{text}."]
    change = best_task[1].mean - best_other[1].mean
    plain = f"{100 * change:+.1f} points" if is_share(head.metric) else f"{change:+.2f}"
    who = f"{spoken(best_other[0])} {score_text(best_other[1].mean, head.metric)}{range_text(best_other[1], head)}"
    sign = 1 if _apart(best_task[1], best_other[1], head, decided) else 0
    sign = -1 if _apart(best_other[1], best_task[1], head, decided) else sign
    meaning = {1: "pretraining helps then, too", -1: "pretraining does not help then", 0: "that is no clear difference"}[sign]
    return [f"{text}, the best of the others, {who}: {plain}, so {meaning}."]


def _apart(first: Estimate, second: Estimate, head: Headline, decided: Decided) -> bool:
    """Whether the first one's interval lies above the second's."""
    return first.mean - _half(first, head, decided) > second.mean + _half(second, head, decided)


def _half(estimate: Estimate, head: Headline, decided: Decided) -> float:
    """Half of the 95 % interval of a share on this number of test rows, at its widest."""
    known = estimate.interval.half_width if estimate.interval is not None else 0.0
    if not is_share(head.metric):
        return known or math.inf
    share = min(max(estimate.mean, 0.0), 1.0)
    return max(known, 1.96 * math.sqrt(share * (1 - share) / decided.divided.n_test))


def _others(best: Row, tasks: Sequence[Row], head: Headline) -> list[str]:
    rest = [f"{row.task} {row_score(row, head)}" for row in tasks if row is not best]
    if not rest:
        return []
    close = best.rank is not None and best.rank[1] > 1
    sure = " Which of the tasks is the best is not sure yet." if close else ""
    return [f"The other tasks: {', '.join(rest)}.{sure}"]


def _how_sure(found: Found, doubt: str) -> list[str]:
    """What would help to decide, if it is unclear; else what was corrected for."""
    decided, seeds = found.decided, found.seeds
    if found.state != "unclear":
        p = found.against[found.decisive.key].p_holm
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
    return [f"What would help to decide: {'; '.join(advice)}."]


def _budget(best: Row, decided: Decided, state: State) -> list[str]:
    plan = decided.schedule
    if plan is None:
        return []
    steps = plan.steps.get(best.benchmark, 0)
    text = f"{best.task} took {steps:,} steps on {decided.divided.n_train:,} rows; all of it took {duration(decided.spent)}."
    if not plan.short or state == "unclear":
        return [text]
    return [f"{text} So few steps teach little: give more --minutes before you decide."]


def _scratch(others: Sequence[Row], decided: Decided) -> list[str]:
    """How long training from scratch, the reference of pretraining, took."""
    if not decided.scratch_steps or not any(row.kind == "scratch" for row in others):
        return []
    draws = decided.scratch_draws or decided.draws
    compared = f"; it is compared on the first {draws} of the {decided.draws} draws" if draws < decided.draws else ""
    if _cut(others, decided):
        return [
            f"Training from scratch was cut to {decided.scratch_steps} steps a draw, of about {CONVERGED}, so that it may "
            f"reach more{compared}. With --minutes {math.ceil(decided.enough)} it converges."
        ]
    return [f"Training from scratch took at least {CONVERGED} steps a draw, which is to convergence{compared}."]


def _failed(table: Table, decided: Decided) -> list[str]:
    notes = [
        f"{name.removeprefix('own-')} cannot run on this data: {error.splitlines()[0]}"
        for name, error in decided.failed.items()
    ]
    slow = [
        f"{name.removeprefix('own-')} is left out: its pilot was cut off, since it is too slow here; it needs about "
        f"--minutes {math.ceil(minutes)}."
        for name, minutes in decided.slow.items()
    ]
    lacking = [row for row in table.rows if row.score is None and (row.kind == "task" or is_worthy(row.kind))]
    return [*notes, *slow, *(_no_result(row) for row in lacking)]
