from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from selfsup.specs import BenchmarkSpec
from selfsup_bench.cells import lines
from selfsup_bench.leaderboard import Row, build
from selfsup_bench.plan import Plan
from selfsup_bench.records import Record
from selfsup_bench.tables import markdown, print_leaderboard


def _row(plan: Plan, records: dict[str, Record], name: str) -> Row:
    return next(row for row in build(plan, records).tables[0].rows if name in (row.task, row.kind))


def test_rows_are_ranked_with_their_references(plan: Plan, records: dict[str, Record]) -> None:
    table = build(plan, records).tables[0]
    assert [row.task for row in table.rows] == ["toy/supervised", "toy/alpha", "toy/raw", "toy/beta", "toy/random-init"]


def test_score_and_gain_are_means_over_seeds(plan: Plan, records: dict[str, Record]) -> None:
    row = _row(plan, records, "toy/alpha")
    assert row.score is not None
    assert row.gain is not None
    assert row.score.mean == pytest.approx(0.90)
    assert row.gain.mean == pytest.approx(0.30 / 0.36)
    assert row.samples_per_second == 1501
    assert row.peak_memory == 400_000_002


def test_it_says_where_the_raw_input_or_the_untrained_network_wins(plan: Plan, records: dict[str, Record]) -> None:
    assert _row(plan, records, "toy/alpha").note == ""
    assert _row(plan, records, "toy/beta").note == "the raw input is better"


def test_a_failed_seed_takes_score_and_gain_away(plan: Plan, records: dict[str, Record]) -> None:
    cell = plan.lines[0].cells["task"][1]
    key = plan.key(cell)
    board = build(plan, {**records, key: replace(records[key], status="failed", error="boom")})
    row = next(row for row in board.tables[0].rows if row.task == "toy/alpha")
    assert (row.score, row.gain) == (None, None)
    assert board.failures == ((cell.name, "boom"),)
    assert board.tables[0].rows[-1] is row


def test_a_missing_reference_takes_the_gain_away_only(plan: Plan, records: dict[str, Record]) -> None:
    key = plan.key(plan.lines[0].cells["supervised"][0])
    row = _row(plan, {k: v for k, v in records.items() if k != key}, "toy/alpha")
    assert row.score is not None
    assert row.gain is None
    assert row.note == "a cell is missing"


def test_methods_of_several_data_sets_are_aggregated_or_it_says_why_not(records: dict[str, Record], plan: Plan) -> None:
    specs = [
        BenchmarkSpec(
            id=f"alpha-{n}",
            summary="x",
            task="toy/alpha",
            dataset=n,
            suites=("s",),
            steps=40,
            evaluators=("knn", "linear"),
            headline="knn.accuracy",
        )
        for n in ("one", "two")
    ]
    made = lines(specs, (0, 1, 2), {spec.id: ("toy", "toy/net") for spec in specs})
    draft = Plan("s", (0, 1, 2), tuple(made), {})
    both = Plan("s", (0, 1, 2), tuple(made), {cell.key({}): cell.key({}) for cell in draft.cells()})
    levels = {
        (cell.kind, cell.seed): records[plan.key(cell)] for line in plan.lines[:1] for g in line.cells.values() for cell in g
    }
    found = {both.key(cell): replace(levels[cell.kind, cell.seed], key=both.key(cell), cell=cell) for cell in both.cells()}
    whole = build(both, found).aggregates
    assert whole[0].gain is not None
    assert whole[0].gain.mean == pytest.approx(0.30 / 0.36)
    found.pop(both.key(made[1].cells["task"][2]))
    part = build(both, found).aggregates
    assert part[0].gain is None
    assert part[0].note == "no gain for alpha-two"


def test_table_for_a_terminal(plan: Plan, records: dict[str, Record]) -> None:
    console = Console(record=True, width=140, file=open("/dev/null", "w"), force_terminal=True)  # noqa: PTH123, SIM115
    key = plan.key(plan.lines[1].cells["task"][0])
    print_leaderboard(build(plan, {**records, key: replace(records[key], status="failed", error="[boom]")}), console)
    console.file.close()
    text = console.export_text()
    for expected in ("90.0 ± 2.5", "83.3 ± 0.0", "1,501", "400", "cpu (Test CPU)", "Student's t", "[boom]"):
        assert expected in text


def test_table_as_markdown(plan: Plan, records: dict[str, Record]) -> None:
    table = markdown(build(plan, records).tables[0])
    assert "| alpha | net | 90.0 ± 2.5 | 83.3 ± 0.0 | 92.0 ± 2.5 | 1,501 |" in table
    assert "| *random init* | net |" in table


def test_references_of_a_benchmark_have_names(records: dict[str, Record]) -> None:
    kinds = ("raw-tones", "supervised-still")
    spec = BenchmarkSpec(
        id="alpha", summary="x", task="toy/alpha", dataset="toyset", suites=("quick",), steps=40, references=kinds,
        evaluators=("knn", "linear"), headline="knn.accuracy",
    )  # fmt: skip
    made = tuple(lines([spec], (0,), {"alpha": ("toy", "net")}))
    keys = {cell.key({}): cell.key({}) for cell in Plan("quick", (0,), made, {}).cells()}
    plan = Plan("quick", (0,), made, keys)
    some = next(record for record in records.values() if record.status == "done")
    level = {"task": 0.7, "random-init": 0.5, "supervised": 0.9, "raw": 0.6, "raw-tones": 0.8, "supervised-still": 0.75}
    found = {
        plan.key(cell): replace(some, key=plan.key(cell), cell=cell, metrics={"knn.accuracy": level[cell.kind]})
        for cell in plan.cells()
    }
    table = build(plan, found).tables[0]
    note = next(row.note for row in table.rows if row.kind == "task")
    assert note == "the raw input (tones) is better; supervised still is better"
    text = markdown(table)
    assert "| *raw input, tones* | – |" in text
    assert "| *supervised* | still |" in text
