from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from selfsup_bench.statistics.estimates import (
    aggregate,
    bootstrap_interval,
    direction,
    estimate,
    normalised_gain,
    paired_gains,
    student_t_interval,
)


@pytest.mark.parametrize("n", range(2, 10))
def test_student_t_interval_agrees_with_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.9, 0.02, n).tolist()
    expected = stats.t.interval(0.95, n - 1, loc=np.mean(values), scale=stats.sem(values))
    made = student_t_interval(values)
    assert (made.low, made.high) == pytest.approx(expected, abs=1e-5)


def test_student_t_holds_the_mean_of_three_seeds_as_often_as_it_says_and_a_bootstrap_does_not() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.0, 1.0, (400, 3)).tolist()
    held = [student_t_interval(row) for row in draws]
    resampled = [bootstrap_interval(row, resamples=200) for row in draws]
    assert np.mean([i.low <= 0 <= i.high for i in held]) == pytest.approx(0.95, abs=0.03)
    assert np.mean([i.low <= 0 <= i.high for i in resampled]) < 0.85


def test_bootstrap_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 30)
    expected = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    made = bootstrap_interval(values.tolist())
    assert (made.low, made.high) == pytest.approx((expected.low, expected.high), abs=2e-3)
    assert made == bootstrap_interval(values.tolist())


def test_estimate_says_which_interval_it_is() -> None:
    assert estimate([0.5]).interval is None
    few, many = estimate([0.1, 0.2, 0.3]), estimate([0.1 * i for i in range(10)])
    assert few.interval is not None
    assert few.interval.method == "student-t"
    assert many.interval is not None
    assert many.interval.method == "bootstrap"
    with pytest.raises(ValueError, match="at least one"):
        estimate([])


def test_normalised_gain_is_0_for_untrained_and_1_for_supervised() -> None:
    assert normalised_gain(0.4, 0.4, 0.9) == 0
    assert normalised_gain(0.9, 0.4, 0.9) == 1
    assert normalised_gain(0.3, 0.4, 0.9) == pytest.approx(-0.2)


def test_normalised_gain_of_a_metric_where_less_is_better() -> None:
    assert normalised_gain(1.0, 2.0, 0.5, sign=direction("linear.cross_entropy")) == pytest.approx(2 / 3)


@pytest.mark.parametrize("supervised", [0.4, 0.3, float("nan")])
def test_normalised_gain_has_no_scale_where_labels_do_not_help(supervised: float) -> None:
    assert normalised_gain(0.5, 0.4, supervised) is None


def test_paired_gains_use_the_references_of_the_same_seed() -> None:
    assert paired_gains([0.5, 0.7], [0.4, 0.5], [0.6, 0.9]) == pytest.approx([0.5, 0.5])
    assert paired_gains([0.5, 0.7], [0.4, 0.5], [0.6, 0.5]) is None
    with pytest.raises(ValueError, match="zip"):
        paired_gains([0.5], [0.4, 0.5], [0.6, 0.9])


def test_aggregate_weighs_every_modality_the_same() -> None:
    made = aggregate({"vision": [[1.0, 1.0], [0.0, 0.0], [0.5, 0.5]], "text": [[0.0, 0.2]]})
    assert made is not None
    assert made.values == pytest.approx((0.25, 0.35))


@pytest.mark.parametrize(
    "gains",
    [{}, {"vision": []}, {"vision": [[0.5], None]}, {"vision": [[0.5]], "text": [None]}, {"vision": [[0.5], [0.5, 0.6]]}],
)
def test_a_missing_cell_gives_no_aggregate(gains: dict[str, list[list[float] | None]]) -> None:
    assert aggregate(gains) is None


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("linear.r2", 1),
        ("linear.rmse", -1),
        ("mae", -1),
        ("label-efficiency.rmse_0.5pct", -1),
        ("label-efficiency.map_10pct", 1),
    ],
)
def test_errors_are_better_where_they_are_less(metric: str, better: int) -> None:
    assert direction(metric) == better
