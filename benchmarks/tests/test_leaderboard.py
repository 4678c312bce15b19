from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.lines import lines
from selfsup_bench.leaderboard.board import Leaderboard, Row
from selfsup_bench.leaderboard.build import build
from selfsup_bench.leaderboard.tables import interval_note, print_leaderboard
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Labels, Record
from selfsup_bench.report.markdown_page import markdown, render_markdown
from selfsup_bench.report.matrix_section import matrix_section
from selfsup_bench.statistics.estimates import Estimate, Interval


def _row(plan: Plan, records: Mapping[str, Record], name: str) -> Row:
    return next(row for row in build(plan, records).tables[0].rows if name in (row.task, row.kind))


def _failed(plan: Plan, records: Mapping[str, Record], kind: str, *, line: int = 0, place: int = 0) -> dict[str, Record]:
    key = plan.key(plan.lines[line].cells[kind][place])
    return {**records, key: replace(records[key], status="failed", error="boom")}


def _shifted(plan: Plan, records: Mapping[str, Record], kind: str, change: Callable[[Record], Record]) -> dict[str, Record]:
    keys = {plan.key(cell) for line in plan.lines for cell in line.cells[kind]}
    return {key: change(record) if key in keys else record for key, record in records.items()}


def _less(amount: float) -> Callable[[Record], Record]:
    def change(record: Record) -> Record:
        return replace(
            record,
            metrics={name: value - amount for name, value in record.metrics.items()},
            draws={name: tuple(value - amount for value in values) for name, values in record.draws.items()},
        )

    return change


def test_rows_are_ranked_and_supervised_training_has_no_score_with_few_labels(plan: Plan, records: dict[str, Record]) -> None:
    table = build(plan, records).tables[0]
    assert [row.name for row in table.rows] == ["Alpha", "pixels", "from scratch", "Beta", "random init", "supervised"]
    supervised = table.row("supervised@toy/net")
    assert supervised.score is None
    assert supervised.missing == ()
    assert supervised.all_labels is not None
    assert supervised.all_labels.mean == pytest.approx(0.96)


def test_score_and_gain_are_means_over_seeds(plan: Plan, records: dict[str, Record]) -> None:
    row = _row(plan, records, "toy/alpha")
    assert row.score is not None
    assert row.gain is not None
    assert row.score.mean == pytest.approx(0.81)
    assert row.score.values == pytest.approx((0.80, 0.81, 0.82))
    assert row.gain.mean == pytest.approx(0.31 / 0.40, abs=1e-4)
    assert row.samples_per_second == 1501
    assert row.peak_memory == 400_000_002


def test_from_scratch_has_all_draws_once_and_the_supervised_cells_score_with_all_labels(
    plan: Plan, records: dict[str, Record]
) -> None:
    row = _row(plan, records, "scratch")
    assert row.score is not None
    assert row.score.values == pytest.approx((0.64,), abs=1e-3)
    assert row.score.interval is not None
    assert len(row.keys) == 3
    assert row.all_labels is not None
    assert row.all_labels.mean == pytest.approx(0.96)


def test_raw_features_count_once_since_seeds_change_nothing(plan: Plan, records: dict[str, Record]) -> None:
    row = _row(plan, records, "raw")
    assert row.score is not None
    assert row.score.values == pytest.approx((0.72,))
    assert row.score.interval is not None
    assert row.all_labels is not None
    assert (row.all_labels.values, row.all_labels.interval) == ((0.88,), None)


def test_all_labels_and_the_curve_stand_beside_the_score(plan: Plan, records: dict[str, Record]) -> None:
    row = _row(plan, records, "toy/alpha")
    assert row.all_labels is not None
    assert row.all_labels.mean == pytest.approx(0.94)
    assert list(row.curve) == [5, 10, 50]
    assert row.curve[10] == row.score
    assert row.curve[50].mean > row.curve[10].mean > row.curve[5].mean


def test_tasks_are_compared_with_every_reference_of_as_few_labels(plan: Plan, records: dict[str, Record]) -> None:
    rows = build(plan, records).tables[0]
    alpha, beta = rows.row("alpha-toyset"), rows.row("beta-toyset")
    assert {comparison.name: comparison.verdict for comparison in alpha.comparisons} == {
        "pixels": "better", "from scratch": "better", "random init": "better",
    }  # fmt: skip
    assert {comparison.name: comparison.verdict for comparison in beta.comparisons} == {
        "pixels": "worse", "from scratch": "worse", "random init": "better",
    }  # fmt: skip
    assert all(row.comparisons == () for row in rows.rows if row.kind != "task")
    every = sorted((c for row in rows.rows for c in row.comparisons), key=lambda c: c.p or 0)
    assert [c.p_holm for c in every] == pytest.approx(
        np.maximum.accumulate([min(1.0, (c.p or 0) * (len(every) - i)) for i, c in enumerate(every)]).tolist()
    )


def test_ranks_have_intervals(plan: Plan, records: dict[str, Record]) -> None:
    rows = build(plan, records).tables[0]
    assert (rows.row("alpha-toyset").rank, rows.row("beta-toyset").rank) == ((1, 1), (2, 2))
    assert rows.row("raw").rank is None


def test_a_failed_seed_takes_score_gain_verdict_and_aggregates_away(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, _failed(plan, records, "task", place=1))
    name = plan.lines[0].cells["task"][1].name
    row = board.tables[0].row("alpha-toyset")
    assert (row.score, row.gain, row.rank, row.comparisons) == (None, None, None, ())
    assert board.failures == ((name, "boom"),)
    verdict = board.tables[0].verdict
    assert (verdict.state, verdict.best, verdict.difference) == ("incomplete", "", None)
    assert verdict.sentence == f"No verdict, since a result is missing: {name}: boom."
    cells = {row.method: row.cells["toy"] for row in board.matrix.rows}
    assert (cells["alpha"].state, cells["alpha"].gain, cells["alpha"].error) == ("failed", None, f"{name}: boom")
    assert cells["beta"].state == "done"


@pytest.mark.parametrize("kind", ["raw", "scratch", "random-init"])
def test_a_missing_reference_takes_the_verdict_away(plan: Plan, records: dict[str, Record], kind: str) -> None:
    assert build(plan, _failed(plan, records, kind)).tables[0].verdict.state == "incomplete"


def test_a_missing_scale_takes_the_gain_away_and_not_the_verdict(plan: Plan, records: dict[str, Record]) -> None:
    key = plan.key(plan.lines[0].cells["supervised"][0])
    board = build(plan, {k: v for k, v in records.items() if k != key})
    row = board.tables[0].row("alpha-toyset")
    assert row.score is not None
    assert row.gain is None
    assert row.note == "a cell is missing"
    assert board.tables[0].verdict.state == "pays"
    assert board.tables[0].row("scratch@toy/net").all_labels is None
    assert {row.cells["toy"].state for row in board.matrix.rows} == {"missing"}


def test_table_for_a_terminal(plan: Plan, records: dict[str, Record]) -> None:
    text = _printed(build(plan, records), width=80)
    assert max(map(len, text.splitlines())) <= 80
    for expected in ("toyset pays", "10 labels %", "81.0 ± 2.3", "77.5 ± 0.0", "cpu (Test CPU)", "Student's t"):
        assert expected in " ".join(text.split())
    assert "supervised " not in text.split("±", 1)[0]


def _printed(board: Leaderboard, *, width: int) -> str:
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    print_leaderboard(board, console)
    return console.export_text()


def test_table_as_markdown(plan: Plan, records: dict[str, Record]) -> None:
    table = markdown(build(plan, records).tables[0])
    assert "| Alpha | net | 81.0 ± 2.3 | 94.0 ± 2.5 | 77.5 ± 0.0 | 1 | 1,501 |" in table
    assert "| *random init* | net |" in table


def test_a_board_is_plain_json(plan: Plan, records: dict[str, Record]) -> None:
    values = json.loads(json.dumps(build(plan, records).as_dict()))
    assert values["tables"][0]["verdict"]["state"] == "pays"
    assert set(values["tables"][0]["rows"][0]["curve"]) == {"5", "10", "50"}


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
        plan.key(cell): replace(
            some, key=plan.key(cell), cell=cell, metrics={"knn.accuracy": level[cell.kind]}, draws={}, rows={}
        )
        for cell in plan.cells()
    }
    table = build(plan, found).tables[0]
    assert {row.kind: row.name for row in table.rows} == {
        "task": "alpha", "random-init": "random init", "raw": "raw input", "raw-tones": "raw input (tones)",
        "supervised": "supervised (net)", "supervised-still": "supervised (still)",
    }  # fmt: skip
    assert table.verdict.state == "unclear"
    assert "With all labels alpha reaches 70.0 %; raw input (tones) 80.0 %; raw input 60.0 %." in table.verdict.sentence
    assert "| *raw input (tones)* | – |" in markdown(table)
    assert interval_note(build(plan, found)) == "One seed: no interval can be given."


@pytest.fixture
def six(make_record: Callable[..., Record]) -> tuple[Plan, dict[str, Record]]:
    """Six modalities with two methods, and a third one in one modality alone."""
    modalities = ("vision", "text", "tabular", "audio", "video", "multimodal")
    tasks = [f"{m}/{t}" for m in modalities for t in ("alpha", "beta")] + ["vision/denoising-autoencoder"]
    specs = [
        BenchmarkSpec(
            id=f"{task.replace('/', '-')}", summary="x", task=task, dataset=f"{task.partition('/')[0]}-set-of-data",
            suites=("s",), steps=40, evaluators=("few-labels", "linear"), headline="few-labels.accuracy@10",
        )
        for task in tasks
    ]  # fmt: skip
    made = lines(specs, (0, 1, 2), {spec.id: (spec.task.partition("/")[0], "net") for spec in specs})
    family = {"alpha": "joint-embedding", "beta": "transformation", "denoising-autoencoder": "latent-prediction"}
    named = tuple(replace(line, family=family[line.spec.task.partition("/")[2]], raw_titles={"raw": "pixels"}) for line in made)
    plan = Plan("s", (0, 1, 2), named, {})
    plan = replace(plan, keys={cell.key({}): cell.key({}) for cell in plan.cells()})
    levels = {"alpha": "toy/alpha", "beta": "toy/beta", "denoising-autoencoder": "toy/beta"}
    records = {}
    for cell in plan.cells():
        toy = replace(cell, task=levels[cell.task.partition("/")[2]]) if cell.kind == "task" else cell
        records[plan.key(cell)] = replace(make_record(plan.key(cell), toy), cell=cell)
    return plan, records


def test_the_matrix_has_a_row_a_method_by_family_and_a_column_a_modality(six: tuple[Plan, dict[str, Record]]) -> None:
    plan, records = six
    matrix = build(plan, records).matrix
    assert matrix.modalities == ("vision", "text", "tabular", "audio", "video", "multimodal")
    assert [(row.method, row.family) for row in matrix.rows] == [
        ("alpha", "joint-embedding"), ("denoising-autoencoder", "latent-prediction"), ("beta", "transformation"),
    ]  # fmt: skip
    alpha, single, beta = matrix.rows
    assert set(alpha.cells) == set(matrix.modalities)
    assert all(cell.state == "done" for cell in alpha.cells.values())
    assert alpha.mean is not None
    assert beta.mean is not None
    assert (alpha.mean.mean, beta.mean.mean) == pytest.approx((0.775, 0.25), abs=1e-3)
    assert set(single.cells) == {"vision"}
    assert single.mean is None
    assert single.name == "denoising autoencoder"
    assert single.cells["vision"].score is not None
    assert single.cells["vision"].score.mean == pytest.approx(0.6)


def test_the_page_of_several_data_sets_has_an_overview_and_the_matrix(six: tuple[Plan, dict[str, Record]]) -> None:
    plan, records = six
    key = plan.key(plan.lines[3].cells["task"][0])
    records = {**records, key: replace(records[key], status="failed", error="out of | memory\nmore")}
    page = render_markdown(build(plan, records), plan, records)
    assert "## Overview\n\nPretraining pays on 5 of 6 data sets. It is not decided yet on 1." in page
    lines_of = {line.split(" | ")[0]: line for line in page.splitlines() if line.startswith("| ")}
    assert lines_of["| vision-set-of-data (vision)"].startswith(
        "| vision-set-of-data (vision) | alpha 81.0 ± 2.3 | 64.0 ± 1.0 | pixels 72.0 ± 1.0 | 50.0 ± 2.3 | +9.0 points (6.5 to"
    )
    assert lines_of["| text-set-of-data (text)"].endswith("| – | incomplete |")
    rows = [line for line in page.splitlines() if line.startswith("| beta | ")]
    assert any(" | failed | " in line for line in rows)
    assert page.endswith("## Cells without a result\n\n- text-beta.text-set-of-data.net.seed0: out of \\| memory\n")


def test_a_mean_wider_than_its_scale_is_unclear_on_the_terminal_as_on_the_page(six: tuple[Plan, dict[str, Record]]) -> None:
    board = build(*six)
    alpha = board.matrix.rows[0]
    wide = replace(alpha, mean=Estimate(0.76, Interval(-0.85, 2.37, "student-t"), (0.0, 0.76, 1.52)))
    assert (alpha.unclear, wide.unclear) == (False, True)
    shown = replace(board, matrix=replace(board.matrix, rows=(wide, *board.matrix.rows[1:])))
    text = _printed(shown, width=120)
    assert "76±161" not in text
    assert [line.split()[-1] for line in text.splitlines() if line.split()[:1] == ["alpha"]][-1] == "unclear"
    assert '<td class="mean unclear"' in matrix_section(shown)


def test_data_sets_of_a_modality_count_alike_and_a_missing_cell_gives_no_mean(
    six: tuple[Plan, dict[str, Record]], make_record: Callable[..., Record]
) -> None:
    plan, records = six
    extra = replace(plan.lines[0].spec, id="vision-alpha-two", dataset="another")
    line = replace(lines([extra], (0, 1, 2), {extra.id: ("vision", "net")})[0], family="joint-embedding")
    more = replace(plan, lines=(*plan.lines, line))
    more = replace(more, keys={cell.key({}): cell.key({}) for cell in more.cells()})
    for cells in line.cells.values():
        for cell in cells:
            toy = replace(cell, task="toy/beta") if cell.kind == "task" else cell
            records[more.key(cell)] = replace(make_record(more.key(cell), toy), cell=cell)
    alpha = build(more, records).matrix.rows[0]
    assert alpha.cells["vision"].gain is not None
    assert alpha.cells["vision"].gain.mean == pytest.approx((0.775 + 0.25) / 2, abs=1e-3)
    assert alpha.cells["vision"].score is not None
    assert alpha.cells["vision"].score.mean == pytest.approx((0.81 + 0.60) / 2)
    assert alpha.mean is not None
    assert alpha.mean.mean == pytest.approx((5 * 0.775 + (0.775 + 0.25) / 2) / 6, abs=1e-3)
    records.pop(more.key(line.cells["task"][2]))
    alpha = build(more, records).matrix.rows[0]
    assert (alpha.cells["vision"].state, alpha.cells["vision"].gain, alpha.mean) == ("missing", None, None)
    assert alpha.cells["vision"].error == f"{line.cells['task'][2].name}: not run yet"
    assert alpha.cells["text"].state == "done"


def test_a_gain_wider_than_its_scale_is_unclear(plan: Plan, records: dict[str, Record]) -> None:
    found = _shifted(plan, records, "supervised", _less(0.38))
    row = _row(plan, found, "toy/alpha")
    assert row.gain is not None
    assert not row.unclear
    for cell in plan.lines[0].cells["supervised"]:
        found[plan.key(cell)] = _less(-0.015 * (cell.seed - 1))(found[plan.key(cell)])
    board = build(plan, found)
    row = board.tables[0].row("alpha-toyset")
    assert row.gain is not None
    assert row.unclear
    assert board.matrix.rows[0].cells["toy"].state == "unclear"
    assert "unclear" in markdown(board.tables[0])
    assert "77.5" not in _printed(board, width=80)


def test_labels_that_give_no_advantage_make_no_scale(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, _shifted(plan, records, "supervised", _less(0.5)))
    row = board.tables[0].row("alpha-toyset")
    assert row.gain is None
    assert row.note == "labels give no advantage over the untrained network, so there is no scale"
    assert (board.matrix.rows[0].cells["toy"].state, board.matrix.rows[0].cells["toy"].gain) == ("unclear", None)
    assert board.tables[0].verdict.state == "pays"


def test_six_modalities_are_readable_in_80_columns(six: tuple[Plan, dict[str, Record]]) -> None:
    plan, records = six
    key = plan.key(plan.lines[3].cells["task"][0])
    board = build(plan, {**records, key: replace(records[key], status="failed", error="out of [memory]\nmore")})
    text = _printed(board, width=80)
    rows = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, rows)) <= 80
    assert rows[0].startswith("vision-set-of-data pays  With 10 labels a class alpha reaches 81.0 %; training")
    verdicts = [line for line in rows if line.startswith(("vision-set", "text-set", "video-set"))]
    assert [line.split()[1] for line in verdicts] == ["pays", "incomplete", "pays"]
    heads = next(line for line in rows if "multimodal" in line and "tabular" in line and "mean" in line)
    alpha = next(line for line in rows[rows.index(heads) :] if line.split()[:1] == ["alpha"])
    beta = next(line for line in rows[rows.index(heads) :] if line.split()[:1] == ["beta"])
    assert len(alpha.split()) == 8
    assert beta.split()[1:3] == ["25±0", "failed"]
    assert beta.endswith("–")
    assert rows.index(heads) > max(index for index, line in enumerate(rows) if line.startswith("  1 "))
    assert rows[-1] == "failed text-beta.text-set-of-data.net.seed0: out of [memory]"


def test_without_a_terminal_nothing_is_coloured_or_folded(six: tuple[Plan, dict[str, Record]]) -> None:
    file = io.StringIO()
    print_leaderboard(build(*six), Console(file=file, width=40))
    text = file.getvalue()
    assert "\x1b" not in text
    first = text.splitlines()[0]
    assert first.startswith("vision-set-of-data pays  With 10 labels a class alpha")
    assert first.endswith("pixels 88.0 %.")
    assert any(line.split()[:1] == ["denoising"] and "25±0" in line for line in text.splitlines())
    coloured = Console(file=io.StringIO(), width=80, force_terminal=True)
    print_leaderboard(build(*six), coloured)
    assert "\x1b[1;32m" in coloured.file.getvalue()  # type: ignore[attr-defined]


def test_draws_from_a_small_pool_make_intervals_wider_and_a_verdict_unsure(plan: Plan, records: dict[str, Record]) -> None:
    def with_pool(overlap: float) -> Leaderboard:
        labels = {"10": Labels(drawn=20, pool=round(20 / overlap), overlap=overlap)}
        return build(plan, {key: replace(record, labels=labels) for key, record in records.items()})

    plain, large, small = build(plan, records), with_pool(0.002), with_pool(20 / 24)
    halves = []
    for board in (plain, large, small):
        score = board.tables[0].row("alpha-toyset").score
        assert score is not None
        assert score.interval is not None
        halves.append(score.interval.half_width)
    assert halves[1] == pytest.approx(halves[0], rel=0.02)
    assert halves[2] > 1.5 * halves[0]
    assert [board.tables[0].labelled for board in (plain, large, small)] == [None, 20, 20]
    assert large.tables[0].verdict.sentence == plain.tables[0].verdict.sentence
    every = with_pool(1.0).tables[0]
    assert (every.verdict.state, every.row("alpha-toyset").score.interval) == ("unclear", None)  # type: ignore[union-attr]
    assert "Each draw has all labelled rows" in every.verdict.sentence


def test_what_the_intervals_are_of_is_said(plan: Plan, records: dict[str, Record]) -> None:
    board = build(plan, records)
    assert interval_note(board) == (
        "± is half of the 95 % interval of the mean over 3 seeds, draws of the labels and test rows (Student's t); of "
        "scores with all labels and of gains it is over the seeds alone."
    )
    assert "(bootstrap)" in interval_note(replace(board, seeds=tuple(range(10))))
    assert interval_note(replace(board, seeds=(0,))) == (
        "± is half of the 95 % interval of the mean over draws of the labels and test rows (Student's t). With one seed it "
        "leaves out how much seeds differ. Scores with all labels and gains have none."
    )
