"""What is recommended, on synthetic records: pretrain, do not, or it is unclear, each with its evidence."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from selfsup_bench.cells.cell import FEW_LABELS
from selfsup_bench.leaderboard.board import Row
from selfsup_bench.leaderboard.build import build
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.tables import print_leaderboard
from selfsup_bench.own_data.advice.advise import advise
from selfsup_bench.own_data.advice.next_steps import commands, reading_flags
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.own_data.advice.sentence import few_text
from selfsup_bench.own_data.rows.divide_rows import Divided
from selfsup_bench.own_data.rows.read_rows import Division, Reading
from selfsup_bench.own_data.schedule import Schedule
from selfsup_bench.own_data.state import State
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.statistics.estimates import Estimate, Interval

NONE = Division(np.arange(0), np.arange(0), np.arange(0), ("a", "a", "a"))
DIVIDED = Divided(
    division=NONE, rows=9000, n_train=8800, labels=600, n_labelled=400, n_test=200, label="kind", kind="class",
    classes=tuple("abcdefghij"), per_class=10, metric="accuracy", tested_on="200 of the labelled rows", notes=(),
)  # fmt: skip
PLANNED = Schedule(
    {"alpha-toyset": 620, "beta-toyset": 620},
    {"alpha-toyset": 620, "beta-toyset": 620},
    rounds=3,
    first=60,
    later=40,
    short=False,
)
GIVEN = {
    "data": "my photos",
    "label": "kind",
    "label_kind": None,
    "unlabelled": ["?"],
    "columns": {},
    "table": {"separator": ";"},
}
DECIDED = State(
    reading=Reading(data="my photos", modality="toy", label="kind"), given=GIVEN, minutes=30, names=(), divided=DIVIDED,
    draws=10, scratch_parts=2, schedule=PLANNED, spent=1700.0,
)  # fmt: skip
OUT = Path("out")


def advice_of(plan: Plan, records: dict[str, Record], decided: State = DECIDED) -> Recommendation:
    return advise(build(plan, records), decided, out=OUT, encoder=OUT / "encoder")


def moved(plan: Plan, records: dict[str, Record], kind: str, by: float) -> dict[str, Record]:
    """The records with the few-label scores of a kind moved."""

    def change(record: Record) -> Record:
        draws = {name: tuple(value + by for value in values) for name, values in record.draws.items()}
        rows = {name: tuple(value + by for value in values) for name, values in record.rows.items()}
        metrics = {name: value + by * name.startswith(FEW_LABELS) for name, value in record.metrics.items()}
        return replace(record, draws=draws, rows=rows, metrics=metrics)

    keys = {plan.key(cell) for line in plan.lines for cell in line.cells[kind]}
    return {key: change(record) if key in keys else record for key, record in records.items()}


def test_where_a_task_beats_every_reference_it_is_recommended(plan: Plan, records: dict[str, Record]) -> None:
    found = advice_of(plan, records)
    assert found.state == "pretrain"
    assert found.sentence.startswith("Pretrain with toy/alpha: with 10 labels a class it reaches 81.0 % (")
    assert "pixels 72.0 %; training from scratch 64.0 %" in found.sentence
    assert "+9.0 points (95 % interval " in found.sentence
    assert "over pixels, the best of them (3 seeds x 10 draws of the labels, 200 test rows)." in found.sentence
    text = " ".join(found.evidence)
    assert "With all 400 labels toy/alpha reaches 94.0 %" in text
    assert "The other tasks: toy/beta 60.0 %." in text
    assert "toy/alpha took 620 steps on 8,800 rows; all of it took 28 min." in text
    assert (found.task, found.encoder) == ("toy/alpha", "out/encoder")


def test_where_a_reference_is_better_pretraining_is_not_recommended(plan: Plan, records: dict[str, Record]) -> None:
    found = advice_of(plan, moved(plan, records, "raw", 0.15))
    assert found.state == "do-not-pretrain"
    assert found.sentence.startswith(
        "Do not pretrain here: use a linear classifier on pixels. With 10 labels a class it reaches "
    )
    assert "87.0 %, and the best pretext task, toy/alpha, 81.0 %" in found.sentence
    assert "-6.0 points (95 % interval -" in found.sentence
    assert not any("pretrain" in command for _, command in found.commands)
    scratch = advice_of(plan, moved(plan, records, "scratch", 0.3))
    assert scratch.sentence.startswith("Do not pretrain here: use training from scratch.")


def test_where_it_is_unclear_it_says_what_would_tell(plan: Plan, records: dict[str, Record]) -> None:
    found = advice_of(plan, moved(plan, records, "raw", 0.09))
    assert found.state == "unclear"
    assert found.sentence.startswith("Unclear: with 10 labels a class toy/alpha reaches 81.0 %")
    (told,) = [line for line in found.evidence if line.startswith("What would help to decide: ")]
    assert "a longer run, by the first command below" in told
    assert ("more labelled rows: only 200 are tested on" in told) == (
        build(plan, moved(plan, records, "raw", 0.09)).tables[0].verdict.doubt == "rows"
    )
    few = replace(DECIDED, schedule=replace(PLANNED, short=True))
    short = advice_of(plan, moved(plan, records, "raw", 0.09), few)
    assert any("more time (--minutes): tasks had 620 steps, which is few" in line for line in short.evidence)
    clear = advice_of(plan, moved(plan, records, "raw", 0.15), few)
    assert any("So few steps teach little: give more --minutes before you decide." in line for line in clear.evidence)


def test_a_task_that_failed_is_named_and_does_not_stand_in_the_way(plan: Plan, records: dict[str, Record]) -> None:
    key = plan.key(plan.lines[1].cells["task"][1])
    failed = {**records, key: replace(records[key], status="failed", error="boom\nand more")}
    found = advice_of(plan, failed, replace(DECIDED, failed={"own-toy-gamma": "it needs tokens"}))
    assert found.state == "pretrain"
    assert any(line.startswith("toy/beta has no result: ") and line.endswith("boom") for line in found.evidence)
    assert "toy-gamma cannot run on this data: it needs tokens" in found.evidence


def test_without_a_whole_seed_there_is_no_advice(plan: Plan) -> None:
    found = advice_of(plan, {})
    assert found.state == "incomplete"
    assert found.sentence.endswith("Go on with --resume.")
    assert found.commands == ()


def test_commands_read_the_data_as_the_benchmark_did() -> None:
    assert reading_flags(GIVEN, source="my photos", labelled=True) == (
        "--data 'my photos' --label kind --unlabelled '?' --separator ';'"
    )
    made = dict(commands(DECIDED, "toy/alpha", OUT, OUT / "encoder", pretrains=True))
    assert made["embed all rows"] == (
        "selfsup embed out/encoder --data 'my photos' --label kind --separator ';' --out embeddings.parquet"
    )
    assert "selfsup pretrain --config out/pretrain.json --out runs/toy-alpha" in made.values()
    apart = replace(DECIDED, given={**GIVEN, "data": "corpus.txt", "labelled": "few.csv"})
    made = dict(commands(apart, "toy/alpha", OUT, OUT / "encoder", pretrains=True))
    assert "--label" not in made["embed all rows"], "the corpus has no label column"
    assert "--data few.csv --label kind" in made["measure what that gives"]


def test_the_recommendation_is_printed_first_and_its_commands_are_not_folded(
    plan: Plan, records: dict[str, Record], tmp_path: Path
) -> None:
    found = advice_of(plan, records)
    found.write(tmp_path)
    again = Recommendation.read(tmp_path)
    assert again == found
    file = io.StringIO()
    board = replace(build(plan, records), recommendation=again)
    print_leaderboard(board, Console(file=file, width=60, highlight=False))
    text = file.getvalue()
    assert text.lstrip().startswith("Pretrain with toy/alpha")
    for _, command in found.commands:
        assert command in text
    assert board.as_dict()["recommendation"]["state"] == "pretrain"


# --- what lacks, and what decides ---


def without_scratch(plan: Plan, records: dict[str, Record]) -> dict[str, Record]:
    key = plan.key(plan.lines[0].cells["scratch"][0])
    return {**records, key: replace(records[key], status="failed", error="boom")}


def test_a_reference_that_lacks_is_the_reason_and_a_longer_run_is_not_the_cure(plan: Plan, records: dict[str, Record]) -> None:
    found = advice_of(plan, without_scratch(plan, records))
    assert found.state == "unclear"
    assert any(line.startswith("training from scratch has no result: ") for line in found.evidence)
    assert found.sentence.startswith("Unclear, since training from scratch has no result: ")
    assert "boom; try it again with --resume. So far with 10 labels a class toy/alpha reaches 81.0 %" in found.sentence
    assert not any(line.startswith("What would help to decide") for line in found.evidence)
    worse = advice_of(plan, without_scratch(plan, moved(plan, records, "raw", 0.15)))
    assert worse.state == "do-not-pretrain", "whatever training from scratch would reach"


def test_the_reference_that_is_not_beaten_is_named_though_a_beaten_one_scores_higher(
    plan: Plan, records: dict[str, Record]
) -> None:
    scratch = {plan.key(cell): place for place, cell in enumerate(plan.lines[0].cells["scratch"])}

    def noisy(key: str, record: Record) -> Record:
        if key not in scratch:
            return record
        # Just below pixels (72 %), and so different from draw to draw that nothing is sure.
        draws = {
            name: tuple(0.71 + 0.3 * (place - (len(values) - 1) / 2) for place in range(len(values)))
            for name, values in record.draws.items()
        }
        return replace(record, draws=draws)

    found = advice_of(plan, {key: noisy(key, record) for key, record in records.items()})
    assert found.state == "unclear"
    assert "It is better than pixels (+9.0 points" in found.sentence
    assert "but the difference to training from scratch is " in found.sentence


def test_it_is_said_where_only_the_correction_takes_a_difference_back(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, moved(plan, records, "raw", 0.09))
    (table,) = board.tables

    def doubtful(row: Row) -> Row:
        small = Estimate(0.03, Interval(0.001, 0.059, "student-t"), (0.03,))
        changed = (
            replace(each, difference=small, verdict="unclear") if each.name == "pixels" else each for each in row.comparisons
        )
        return replace(row, comparisons=tuple(changed))

    changed = replace(board, tables=(replace(table, rows=tuple(map(doubtful, table.rows))),))
    found = advise(changed, DECIDED, out=OUT, encoder=OUT / "encoder")
    assert "(95 % interval 0.1 to 5.9), which is not sure after Holm's correction for 6 comparisons" in found.sentence


def test_against_a_training_from_scratch_that_was_cut_pretraining_is_not_recommended(
    plan: Plan, records: dict[str, Record]
) -> None:
    cut = replace(DECIDED, scratch_steps=30, scratch_draws=3, enough=47.2)
    found = advice_of(plan, records, cut)
    assert found.state == "unclear"
    assert found.sentence.startswith(
        "Unclear, since training from scratch was cut to 30 steps, and takes about 200 to converge; run it again with "
        "--minutes 48 into another --out. So far "
    )
    assert any("cut to 30 steps a draw" in line and "first 3 of the 10 draws" in line for line in found.evidence)
    worse = advice_of(plan, moved(plan, records, "raw", 0.15), cut)
    assert worse.state == "do-not-pretrain"
    assert any("cut to 30 steps a draw" in line for line in worse.evidence)
    whole = advice_of(plan, records, replace(DECIDED, scratch_steps=200, scratch_draws=5))
    assert whole.state == "pretrain"
    assert (
        "Training from scratch took at least 200 steps a draw, which is to convergence; it is compared on the first 5 of "
        "the 10 draws."
    ) in whole.evidence


def test_a_task_that_is_too_slow_is_named_with_the_time_it_needs(plan: Plan, records: dict[str, Record]) -> None:
    found = advice_of(plan, records, replace(DECIDED, slow={"own-toy-gamma": 181.3}))
    assert (
        "toy-gamma is left out: its pilot was cut off, since it is too slow here; it needs about --minutes 182."
        in found.evidence
    )


def test_of_numbers_so_many_labels_are_named_as_a_draw_has() -> None:
    numbers = replace(DECIDED, divided=replace(DIVIDED, kind="number", classes=(), metric="r2", drawn=47))
    assert few_text(Headline("few-labels.r2@10"), numbers) == "with 47 labels"
    assert few_text(Headline("few-labels.accuracy@10"), numbers) == "with 10 labels a class"
