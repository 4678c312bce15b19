"""What a verdict says, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.lines import lines
from selfsup_bench.leaderboard.board import Verdict
from selfsup_bench.leaderboard.build import build
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.tables import metric_title
from selfsup_bench.leaderboard.wording import labels_text
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Labels, Record
from selfsup_bench.report.markdown_page import markdown
from selfsup_bench.report.parts import score_title

NAME = "few-labels.accuracy@10"
Change = Callable[[Record, int], Record]
"""A record, and the place of its seed."""


def _verdict(plan: Plan, records: Mapping[str, Record]) -> Verdict:
    return build(plan, records).tables[0].verdict


def _changed(plan: Plan, records: Mapping[str, Record], kind: str, change: Change, *, task: str = "") -> dict[str, Record]:
    found = dict(records)
    for line in plan.lines:
        for place, cell in enumerate(line.cells[kind]):
            if not task or cell.task == task:
                found[plan.key(cell)] = change(records[plan.key(cell)], place)
    return found


def _draws(add: Callable[[int, int], float]) -> Change:
    """Add to each draw, by seed and draw."""

    def change(record: Record, place: int) -> Record:
        values = tuple(value + add(place, draw) for draw, value in enumerate(record.draws[NAME]))
        return replace(
            record,
            draws={**record.draws, NAME: values},
            metrics={**record.metrics, NAME: float(np.mean(values))},
        )

    return change


def _noisy_rows(record: Record, place: int) -> Record:
    rows = np.random.default_rng(5).normal(record.metrics[NAME], 1.0, 200)
    return replace(record, rows={NAME: tuple(rows.tolist())})


def test_a_task_that_surely_wins_goes_before_one_that_is_higher_in_the_mean_alone(
    plan: Plan, records: dict[str, Record]
) -> None:
    uneven = _changed(plan, records, "task", _draws(lambda seed, draw: 0.2 * (seed - 1)), task="toy/alpha")
    found = _changed(plan, uneven, "task", _draws(lambda seed, draw: 0.18), task="toy/beta")
    table = build(plan, found).tables[0]
    alpha, beta = table.row("alpha-toyset"), table.row("beta-toyset")
    assert alpha.score is not None
    assert beta.score is not None
    assert alpha.score.mean > beta.score.mean
    assert (table.verdict.state, table.verdict.best) == ("pays", "beta-toyset")


def test_pretraining_pays_where_the_best_task_beats_every_reference(plan: Plan, records: dict[str, Record]) -> None:
    verdict = _verdict(plan, records)
    assert (verdict.state, verdict.best, verdict.reference) == ("pays", "alpha-toyset", "raw")
    assert verdict.sentence == (
        "With 10 labels a class Alpha reaches 81.0 %; training from scratch 64.0 %; pixels 72.0 %. Pretraining pays: +9.0 "
        "points over pixels (95 % interval 6.5 to 11.5). With all labels it reaches 94.0 %; training from scratch 96.0 %; "
        "pixels 88.0 %."
    )
    assert verdict.difference is not None
    assert verdict.difference.mean == pytest.approx(0.09)
    assert len(verdict.evidence) == 4
    assert verdict.evidence[0] == (
        "Alpha against pixels: +9.0 points (95 % interval 6.5 to 11.5; p = 0.008 after Holm's correction for 6 comparisons)."
    )
    assert verdict.evidence[3].startswith(
        "Gain: 78 % of the way from the untrained network to the one that was trained with "
        "all labels, both probed with the same few labels"
    )


def test_it_does_not_pay_where_a_reference_is_surely_better(plan: Plan, records: dict[str, Record]) -> None:
    verdict = _verdict(plan, _changed(plan, records, "task", _draws(lambda seed, draw: -0.2), task="toy/alpha"))
    assert (verdict.state, verdict.best, verdict.reference) == ("does-not-pay", "alpha-toyset", "raw")
    assert "Alpha reaches 61.0 %" in verdict.sentence
    assert "Pretraining does not pay: -11.0 points against pixels (95 % interval -13.5 to -8.5)." in verdict.sentence


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (_draws(lambda seed, draw: 0.1 * (seed - 1) - 0.05), "Most of the doubt is from the seeds: run more of them."),
        (
            _draws(lambda seed, draw: 0.15 * (-1) ** draw - 0.07),
            "Most of the doubt is from which rows have labels: use more labels a class, or more draws of them.",
        ),
        (_noisy_rows, "Most of the doubt is from the test rows: use more of them."),
    ],
)
def test_it_is_unclear_where_the_difference_may_be_chance_and_says_what_would_tell(
    plan: Plan, records: dict[str, Record], change: Change, advice: str
) -> None:
    verdict = _verdict(plan, _changed(plan, records, "task", change, task="toy/alpha"))
    assert verdict.state == "unclear"
    assert "Whether pretraining pays is unclear: +" in verdict.sentence
    assert advice in verdict.sentence


def test_being_surely_better_than_the_best_reference_is_not_enough(plan: Plan, records: dict[str, Record]) -> None:
    scratch = _changed(plan, records, "scratch", _draws(lambda seed, draw: 0.07 + 0.3 * (-1) ** (draw + seed)))
    verdict = _verdict(plan, scratch)
    assert verdict.reference == "raw"
    assert verdict.state == "unclear"
    assert "is unclear: it is better than pixels, but +" in verdict.sentence
    assert "points over training from scratch" in verdict.sentence


def test_an_interval_above_zero_that_the_correction_takes_back_is_said_to_be_unsure(
    plan: Plan, records: dict[str, Record]
) -> None:
    found = _changed(plan, records, "task", _draws(lambda seed, draw: 0.022 * (seed - 1)), task="toy/alpha")
    assert _verdict(plan, found).state == "pays"
    # A second task that may be as good as pixels or not is one more comparison that is not sure.
    verdict = _verdict(plan, _changed(plan, found, "task", _draws(lambda seed, draw: 0.12), task="toy/beta"))
    assert verdict.state == "unclear"
    assert verdict.difference is not None
    assert verdict.difference.interval is not None
    assert verdict.difference.interval.low > 0
    assert "; not sure after Holm's correction for 6 comparisons)." in verdict.sentence


def _only_first_seed(plan: Plan, draws: int) -> Plan:
    specs = [replace(line.spec, overrides={**line.spec.overrides, "evaluators.few-labels.draws": draws}) for line in plan.lines]
    made = lines(specs, (0,), {spec.id: ("toy", "toy/net") for spec in specs})
    named = tuple(replace(line, title=old.title, raw_titles=old.raw_titles) for line, old in zip(made, plan.lines, strict=True))
    draft = Plan("quick", (0,), named, {})
    return Plan("quick", (0,), named, {cell.key({}): cell.key({}) for cell in draft.cells()})


def test_one_seed_is_said_to_be_one(plan: Plan, make_record: Callable[..., Record]) -> None:
    one = _only_first_seed(plan, 10)
    verdict = _verdict(one, {one.key(cell): make_record(one.key(cell), cell) for cell in one.cells()})
    assert verdict.state == "pays"
    assert "This is one seed: how much seeds differ is not known." in verdict.sentence


def test_one_seed_and_one_draw_tell_nothing(plan: Plan, make_record: Callable[..., Record]) -> None:
    one = _only_first_seed(plan, 1)
    verdict = _verdict(one, {one.key(cell): make_record(one.key(cell), cell) for cell in one.cells()})
    assert verdict.state == "unclear"
    assert verdict.difference is not None
    assert verdict.difference.interval is None
    assert "Whether pretraining pays is unclear: +8.0 points over pixels. This is one seed" in verdict.sentence
    assert verdict.evidence[0] == "Alpha against pixels: +8.0 points (no interval is known)."


def test_numbers_are_spoken_of_by_r2_and_by_all_their_labels(plan: Plan, records: dict[str, Record]) -> None:
    def rename(name: str) -> str:
        return name.replace("accuracy", "r2")

    named = tuple(replace(line, spec=replace(line.spec, headline="few-labels.r2@10")) for line in plan.lines)
    found = {
        key: replace(
            record,
            metrics={rename(name): value for name, value in record.metrics.items()},
            draws={rename(name): value for name, value in record.draws.items()},
            rows={rename(name): value for name, value in record.rows.items()},
        )
        for key, record in records.items()
    }
    assert _verdict(replace(plan, lines=named), found).sentence == (
        "With 100 labels Alpha reaches R² 0.81; training from scratch 0.64; pixels 0.72. Pretraining pays: +0.09 over pixels "
        "(95 % interval 0.07 to 0.11). With all labels it reaches 0.94; training from scratch 0.96; pixels 0.88."
    )


def test_the_untrained_network_is_named_where_nothing_beats_it(plan: Plan, records: dict[str, Record]) -> None:
    sentence = _verdict(plan, _changed(plan, records, "random-init", _draws(lambda seed, draw: 0.4))).sentence
    assert "; pixels 72.0 %." in sentence.replace("the untrained network 90.0 %; pixels", "; pixels")
    assert "the untrained network 90.0 %" in sentence
    assert "Pretraining does not pay: -9.0 points against the untrained network" in sentence


def test_a_task_that_lacks_the_metric_is_named_and_such_a_reference_is_left_out(plan: Plan, records: dict[str, Record]) -> None:
    def without(record: Record, place: int) -> Record:
        return replace(record, metrics={}, draws={}, rows={})

    verdict = _verdict(plan, _changed(plan, records, "task", without, task="toy/beta"))
    assert verdict.state == "incomplete"
    assert verdict.sentence == "No verdict, since a result is missing: Beta has no score with this metric."
    verdict = _verdict(plan, _changed(plan, records, "raw", without))
    assert (verdict.state, verdict.reference) == ("pays", "scratch@toy/net")
    assert "pixels" not in verdict.sentence


def test_rows_of_one_name_are_told_apart_by_their_backbone(plan: Plan, make_record: Callable[..., Record]) -> None:
    specs = [replace(plan.lines[0].spec, id=f"alpha-{net}", backbone=net) for net in ("small", "wide")]
    made = lines(specs, (0, 1), {spec.id: ("toy", f"toy/{spec.backbone}") for spec in specs})
    both = Plan("quick", (0, 1), tuple(made), {})
    both = replace(both, keys={cell.key({}): cell.key({}) for cell in both.cells()})
    table = build(both, {both.key(cell): make_record(both.key(cell), cell) for cell in both.cells()}).tables[0]
    assert sorted(row.name for row in table.rows) == sorted(
        [f"{name} ({net})" for name in ("alpha", "from scratch", "random init", "supervised") for net in ("small", "wide")]
        + ["raw input"]
    )
    assert len({row.key for row in table.rows}) == len(table.rows)
    assert "training from scratch (small) 64.0 %" in table.verdict.sentence


def test_a_benchmark_of_all_labels_is_judged_by_them(plan: Plan, records: dict[str, Record]) -> None:
    spec = BenchmarkSpec(
        id="alpha", summary="x", task="toy/alpha", dataset="toyset", suites=("quick",), steps=40, evaluators=("linear",),
        headline="linear.accuracy",
    )  # fmt: skip
    made = tuple(lines([spec], (0, 1, 2), {"alpha": ("toy", "toy/net")}))
    whole = Plan("quick", (0, 1, 2), made, {})
    whole = replace(whole, keys={cell.key({}): cell.key({}) for cell in whole.cells()})
    level = {"task": 0.9, "random-init": 0.5, "raw": 0.8, "supervised": 0.95}
    some = next(iter(records.values()))
    found = {
        whole.key(cell): replace(
            some,
            key=whole.key(cell),
            cell=cell,
            draws={},
            rows={},
            metrics={"linear.accuracy": level[cell.kind] + 0.001 * cell.seed},
        )
        for cell in whole.cells()
    }
    table = build(whole, found).tables[0]
    assert table.verdict.state == "pays"
    assert table.verdict.sentence.startswith("With all labels alpha reaches 90.1 %; raw input 80.0 %. Pretraining pays: +10.1")
    assert "it reaches" not in table.verdict.sentence
    assert [row.all_labels for row in table.rows] == [None] * 4
    assert table.rows[0].kind == "supervised"


@pytest.mark.parametrize(
    ("headline", "words", "title"),
    [
        ("few-labels.accuracy@10", "With 10 labels a class", "10 labels"),
        ("few-labels.accuracy@1", "With 1 label a class", "1 label"),
        ("few-labels.balanced_accuracy@5", "With 5 labels a class", "5 labels"),
        ("few-labels.r2@10", "With 100 labels", "100 labels"),
        ("few-labels.accuracy@5%", "With 5 % of labels", "5 % of labels"),
        ("linear.accuracy", "With all labels", "linear accuracy"),
    ],
)
def test_how_many_labels_in_words(headline: str, words: str, title: str) -> None:
    assert labels_text(Headline(headline)) == words
    assert metric_title(headline) == title


def test_numbers_say_how_many_labels_were_really_drawn(plan: Plan, records: dict[str, Record]) -> None:
    head = Headline("few-labels.r2@3")
    assert labels_text(head, 12) == "With 12 labels", "a small pool has fewer groups than ten"
    assert metric_title(head.text, 12) == "12 labels"
    assert labels_text(Headline("few-labels.accuracy@3"), 12) == "With 3 labels a class"
    named = tuple(replace(line, spec=replace(line.spec, headline="few-labels.r2@10")) for line in plan.lines)
    found = {
        key: replace(record, labels={"10": Labels(drawn=40, pool=2000, overlap=0.02)},
                     **{field: {k.replace("accuracy", "r2"): v for k, v in getattr(record, field).items()}
                        for field in ("metrics", "draws", "rows")})
        for key, record in records.items()
    }  # fmt: skip
    table = build(replace(plan, lines=named), found).tables[0]
    assert table.verdict.sentence.startswith("With 40 labels Alpha reaches R² 0.81")
    assert "| 40 labels |" in markdown(table)
    assert score_title(table) == "40 labels, R²"


def test_a_share_of_the_labels_is_few_labels_too() -> None:
    head = Headline("few-labels.map@1%")
    assert (head.metric, head.amount, head.per_class) == ("map", "1%", 0)
    assert [head.of("boosting"), head.all_labels("boosting"), head.all_labels("raw"), head.shown("supervised")] == [
        "few-labels.map@1%", "boosting.map", "linear.map", "linear.map",
    ]  # fmt: skip


def test_less_is_better_for_errors(plan: Plan, records: dict[str, Record]) -> None:
    """The same numbers as errors: the untrained network is the best, and every task surely worse."""
    named = tuple(replace(line, spec=replace(line.spec, headline="few-labels.rmse@10")) for line in plan.lines)
    found = {
        key: replace(record, **{field: {k.replace("accuracy", "rmse"): v for k, v in getattr(record, field).items()}
                                for field in ("metrics", "draws", "rows")})
        for key, record in records.items()
    }  # fmt: skip
    table = build(replace(plan, lines=named), found).tables[0]
    assert [row.name for row in table.rows][:2] == ["random init", "Beta"]
    assert (table.verdict.state, table.verdict.best) == ("does-not-pay", "beta-toyset")
    assert "With 100 labels Beta reaches RMSE 0.60" in table.verdict.sentence
    assert "Pretraining does not pay: +0.10 against the untrained network" in table.verdict.sentence
    assert {c.name: c.verdict for c in table.row("beta-toyset").comparisons} == {
        "random init": "worse", "pixels": "better", "from scratch": "better",
    }  # fmt: skip


def test_references_with_other_options_are_told_apart(plan: Plan, make_record: Callable[..., Record]) -> None:
    specs = [plan.lines[0].spec, replace(plan.lines[1].spec, overrides={**plan.lines[1].spec.overrides, "processor.size": 9})]
    made = lines(specs, (0, 1), {spec.id: ("toy", "toy/net") for spec in specs})
    both = Plan("quick", (0, 1), tuple(made), {})
    both = replace(both, keys={cell.key({}): cell.key({}) for cell in both.cells()})
    table = build(both, {both.key(cell): make_record(both.key(cell), cell) for cell in both.cells()}).tables[0]
    assert len({row.key for row in table.rows}) == len({row.name for row in table.rows}) == len(table.rows) == 10
    assert {"raw input", "raw input (2)", "from scratch", "from scratch (2)"} <= {row.name for row in table.rows}
