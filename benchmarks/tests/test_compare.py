"""Two benchmarks side by side: what differs, how sure that is, and what it means for the exit status."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.stats import ttest_ind

from selfsup.errors import ConfigError
from selfsup_bench.commands import benchmark
from selfsup_bench.compare.compare import Change, apart, compare
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore
from selfsup_bench.statistics.scores import Scores

Alter = Callable[[Record], Record]
FEW = "few-labels.accuracy@10"
OLD = Path(__file__).with_name("fixtures") / "schema-1"


def write(folder: Path, plan: Plan, records: Mapping[str, Record], alter: Alter = lambda record: record) -> Path:
    plan.write(folder)
    for record in records.values():
        RecordStore(folder).write(alter(record))
    return folder


def lowered(record: Record, by: float) -> Record:
    """With other scores with few labels; a little more in every second draw, so that the difference has a spread."""
    draws = {name: tuple(v - by - 0.001 * (i % 2) for i, v in enumerate(values)) for name, values in record.draws.items()}
    rows = {name: tuple(v - by - 0.0005 for v in values) for name, values in record.rows.items()}
    metrics = record.metrics | {name: float(np.mean(values)) for name, values in draws.items()}  # type: ignore[operator]
    return replace(record, draws=draws, rows=rows, metrics=metrics)


def of_alpha(alter: Alter) -> Alter:
    return lambda record: alter(record) if record.cell.task == "toy/alpha" else record


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(benchmark, ["--compare", *map(str, arguments)], catch_exceptions=False)


def change_of(folders: tuple[Path, Path], row: str, metric: str = FEW) -> Change:
    (change,) = [each for each in compare(*folders).changes if (each.row, each.metric) == (row, metric)]
    return change


@pytest.fixture
def before(plan: Plan, records: dict[str, Record], tmp_path: Path) -> Path:
    return write(tmp_path / "before", plan, records)


def test_a_benchmark_is_the_same_as_itself(before: Path) -> None:
    result = invoke(before, before)
    assert result.exit_code == 0
    compared = compare(before, before)
    assert {change.state for change in compared.changes} == {"same"}
    assert (compared.circumstances, compared.only_before, compared.only_after, compared.speed) == ({}, (), (), 1.0)
    shown = {(change.row, change.metric) for change in compared.changes}
    assert ("alpha-toyset", FEW) in shown
    assert ("alpha-toyset", "linear.accuracy") in shown
    assert ("scratch@toy/net", FEW) in shown
    assert ("supervised@toy/net", "linear.accuracy") in shown
    assert ("supervised@toy/net", FEW) not in shown, "few labels on a network that has seen them all say nothing"


def test_a_regression_has_exit_status_1(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    after = write(tmp_path / "after", plan, records, of_alpha(lambda record: lowered(record, 0.02)))
    change = change_of((before, after), "alpha-toyset")
    assert change.difference is not None
    assert change.difference.interval is not None
    assert change.difference.mean == pytest.approx(-0.0205)
    assert -0.03 < change.difference.interval.low < -0.0205 < change.difference.interval.high < -0.015
    assert (change.state, change.paired) == ("worse", True)
    result = invoke(before, after)
    assert result.exit_code == 1
    assert "worse: Alpha on toyset, few-labels.accuracy@10" in result.stdout
    assert "-2.1 (-" in result.stdout
    document = json.loads(invoke(before, after, "--json").stdout)
    assert [(each["row"], each["metric"]) for each in document["regressions"]] == [("alpha-toyset", FEW)]
    assert document["changes"][0]["p_holm"] is not None
    back = invoke(after, before)
    assert back.exit_code == 0
    assert change_of((after, before), "alpha-toyset").state == "better"


def test_what_lies_within_chance_is_no_regression(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    def shaken(record: Record) -> Record:
        sign = 1 if record.cell.seed == 1 else -1
        return lowered(record, 0.02 * sign)

    after = write(tmp_path / "after", plan, records, of_alpha(shaken))
    assert change_of((before, after), "alpha-toyset").state == "unclear"
    assert invoke(before, after).exit_code == 0


def test_other_data_are_not_paired(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    def other(record: Record) -> Record:
        return replace(lowered(record, 0.02), circumstances={**record.circumstances, "data": "fedcba9876543210"})

    after = write(tmp_path / "after", plan, records, other)
    change = change_of((before, after), "alpha-toyset")
    assert change.paired is False
    assert change.state == "unclear", "the same difference is clear where it is paired"
    result = invoke(before, after)
    assert "Not paired, since the data or the seeds differ: toyset." in result.stdout
    assert "data toyset: 0123456789ab -> fedcba987654" in result.stdout


def test_a_cell_that_fails_now_is_a_regression(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    def fallen(record: Record) -> Record:
        return replace(record, status="failed", error="it fell over\nand more") if record.cell.seed else record

    after = write(tmp_path / "after", plan, records, of_alpha(fallen))
    result = invoke(before, after)
    assert result.exit_code == 1
    assert "lost: Alpha on toyset, few-labels.accuracy@10: it fell over\n" in result.stdout
    assert invoke(after, before).exit_code == 0, "what was lost before is no regression"


def test_packages_and_speeds_are_told(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    def faster(record: Record) -> Record:
        around = {**record.circumstances, "versions": {"selfsup": "0.1.0", "torch": "3", "new": "1"}, "threads": 2}
        speed = record.samples_per_second
        return replace(record, circumstances=around, samples_per_second=None if speed is None else 2 * speed)

    after = write(tmp_path / "after", plan, records, faster)
    compared = compare(before, after)
    assert compared.circumstances == {"torch": ("2", "3"), "threads": ("1", "2")}
    assert compared.speed == pytest.approx(2.0)
    result = invoke(before, after)
    assert result.exit_code == 0
    assert "torch: 2 -> 3" in result.stdout
    assert "Pretraining is 2.00 times as fast" in result.stdout


def test_seeds_that_both_have_are_compared(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    two = replace(
        plan,
        seeds=(0, 1),
        lines=tuple(
            replace(line, cells={kind: cells[:2] if kind != "scratch" else cells for kind, cells in line.cells.items()})
            for line in plan.lines
        ),
    )
    write(fewer, two, {two.key(cell): records[two.key(cell)] for cell in two.cells()})
    change = change_of((before, fewer), "alpha-toyset")
    assert (change.state, change.paired) == ("same", True)
    assert len(change.before.values) == 2


def test_a_folder_of_an_earlier_version_is_compared_where_both_have_a_score(tmp_path: Path) -> None:
    compared = compare(OLD, OLD)
    assert {change.row for change in compared.changes} >= {"breast-cancer-vime", "raw", "boosting"}
    assert {change.metric for change in compared.changes} == {"linear.accuracy", "boosting.accuracy"}


def test_folders_without_anything_in_common(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    other = write(tmp_path / "other", replace(plan, suite="matrix"), records)
    result = invoke(OLD, other)
    assert result.exit_code == 0
    assert "Nothing can be compared" in result.stdout
    assert f"Only in {other}: Alpha on toyset" in result.stdout.replace("\n", " ")
    assert f"Only in {OLD}: " in result.stdout
    assert invoke(OLD, before).exit_code == 1, "of the same suite all rows are lost"


def without_beta(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, lines=plan.lines[:1], **changes)


def test_a_row_that_is_not_there_any_more_is_lost(before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    after = write(tmp_path / "after", without_beta(plan), records)
    result = invoke(before, after)
    assert result.exit_code == 1
    for metric in (FEW, "linear.accuracy"):
        assert f"lost: Beta on toyset, {metric}: the second benchmark has no such row\n" in result.stdout
    assert compare(before, after).only_before == ()
    assert {change.row for change in compare(before, after).regressions} == {"beta-toyset"}
    assert invoke(after, before).exit_code == 0, "a row more is no regression"


def test_a_row_that_was_left_out_on_purpose_is_not_lost(
    before: Path, plan: Plan, records: dict[str, Record], tmp_path: Path
) -> None:
    narrowed = write(tmp_path / "narrowed", without_beta(plan, not_chosen=("beta-toyset",)), records)
    result = invoke(before, narrowed)
    assert result.exit_code == 0
    assert f"Only in {before}: Beta on toyset." in result.stdout
    other = write(tmp_path / "other", without_beta(plan, suite="matrix"), records)
    assert invoke(before, other).exit_code == 0, "another suite has other rows"
    own = [write(tmp_path / f"own-{name}", replace(made, suite="own"), records) for name, made in
           (("before", plan), ("after", without_beta(plan)))]  # fmt: skip
    assert invoke(*own).exit_code == 0, "own data get as many tasks as there is time for"
    unlike = write(tmp_path / "unlike", without_beta(plan, not_chosen=("gamma-toyset",)), records)
    assert invoke(before, unlike).exit_code == 1


def test_a_row_that_had_no_score_before_cannot_be_lost(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    def failed(record: Record) -> Record:
        return replace(record, status="failed", error="x") if record.cell.task == "toy/beta" else record

    before, after = write(tmp_path / "b", plan, records, failed), write(tmp_path / "a", without_beta(plan), records)
    assert invoke(before, after).exit_code == 0
    assert compare(before, after).only_before == ("Beta on toyset",)


def test_independent_scores_are_compared_as_welch_did() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 1, 5), rng.normal(1, 3, 4)
    estimate, p = apart(Scores(one[:, None]), Scores(two[:, None]))
    expected = ttest_ind(two, one, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert estimate.interval is not None
    assert p == pytest.approx(expected.pvalue, abs=1e-9)
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((interval.low, interval.high))
    assert apart(Scores(one[:1, None]), Scores(two[:, None]))[1] is None, "one value says nothing of its spread"


def test_other_options_are_refused(before: Path) -> None:
    with pytest.raises(ConfigError, match="--seeds has no effect with --compare, which runs nothing"):
        invoke(before, before, "--seeds", "2")
