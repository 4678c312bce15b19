"""Intervals over seeds, draws and test rows: by hand, and held against how often they hold the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from selfsup.evaluation.subsets import expected_overlap, few_label_rows
from selfsup_bench.statistics import scores as scores_module
from selfsup_bench.statistics.scores import Scores, holm, rank_intervals, resampled

BY_HAND = Scores(np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 8.0], [8.0, 6.0, 7.0]]))
"""Means of seeds 3, 5, 7; of draws 4, 4, 7; of all 5. MS of seeds 3 x 8 / 2 = 12, of draws 3 x 6 / 2 = 9. Residuals
(-1, 0, 1), (-1, 0, 1), (2, 0, -2): MS of the rest 12 / 4 = 3."""


def test_the_interval_of_crossed_seeds_and_draws_agrees_with_a_calculation_by_hand() -> None:
    spread = BY_HAND.spread()
    assert spread is not None
    assert {term.source: (term.variance * 9, term.df) for term in spread.terms} == {
        "seeds": (pytest.approx(12), 2), "draws": (pytest.approx(9), 2), "rest": (pytest.approx(-3), 4),
    }  # fmt: skip
    assert spread.variance == pytest.approx((12 + 9 - 3) / 9)
    assert spread.df == pytest.approx(18**2 / (12**2 / 2 + 9**2 / 2 + 3**2 / 4))
    satterthwaite = replace(spread, own=0.0)
    assert satterthwaite.half_width() == pytest.approx(stats.t.ppf(0.975, spread.df) * np.sqrt(2))
    assert satterthwaite.p_value(5) == pytest.approx(2 * stats.t.sf(5 / np.sqrt(2), spread.df))
    made = BY_HAND.estimate()
    assert replace(spread, own=1.0).half_width() == pytest.approx(stats.t.ppf(0.975, 2) * np.sqrt((12 + (9 - 3)) / 9))
    half = (stats.t.ppf(0.975, 2) + stats.t.ppf(0.975, spread.df)) / 2 * np.sqrt(2)  # three seeds: the mean of both
    assert made.interval is not None
    assert (made.mean, made.interval.low, made.interval.high) == pytest.approx((5, 5 - half, 5 + half))
    assert made.values == (3, 5, 7)
    p = BY_HAND.p_value()
    assert p is not None
    assert spread.half_width(1 - p) == pytest.approx(5)


def test_test_rows_add_their_variance() -> None:
    rows = np.array([[0.0, 1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0, 0.0], [0.5, 1.0, 0.0, 1.0, 0.5]])
    spread, without = Scores(BY_HAND.values, rows).spread(), BY_HAND.spread()
    assert spread is not None
    assert without is not None
    # Mean of the rows over seeds: 0.5, 1, 0, 1, 0.5, of variance 0.175.
    assert spread.variance - without.variance == pytest.approx(0.175 / 5)


def test_the_variance_is_never_below_its_largest_part() -> None:
    spread = Scores(np.array([[1.0, -1.0], [-1.0, 1.0]])).spread()
    assert spread is not None
    assert spread.variance == pytest.approx(4 / 4)  # all of it is the rest: (0 + 0 - 4) / 4 would be below zero
    assert spread.half_width() > 0


@pytest.mark.parametrize(
    ("values", "source", "expected"),
    [([[0.5, 0.7, 0.9]], "draws", [0.5, 0.7, 0.9]), ([[0.5], [0.7], [0.9]], "seeds", [0.5, 0.7, 0.9])],
)
def test_one_seed_or_one_draw_gives_a_plain_interval_over_the_other(
    values: list[list[float]], source: str, expected: list[float]
) -> None:
    scores = Scores(np.array(values))
    low, high = stats.t.interval(0.95, 2, loc=np.mean(expected), scale=stats.sem(expected))
    made = scores.estimate()
    spread = scores.spread()
    assert made.interval is not None
    assert spread is not None
    assert (made.interval.low, made.interval.high) == pytest.approx((low, high))
    assert spread.largest == source
    assert scores.p_value() == pytest.approx(stats.ttest_1samp(expected, 0).pvalue)


def test_one_seed_and_one_draw_give_no_interval_even_with_rows() -> None:
    single = Scores(np.array([[0.5]]), np.array([[0.0, 1.0, 0.0, 1.0]]))
    assert single.estimate().interval is None
    assert single.p_value() is None


MIXES = [(1, 0.3, 0.3), (1, 0.5, 0.3), (0.3, 1, 0.3), (0.3, 1, 1), (1, 1, 1), (0, 0, 1), (1, 0, 1), (0.2, 0.5, 1)]
"""Standard deviations of seeds, draws and the rest."""


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    draws, repeats = 10, 1000
    for seed, draw, rest in MIXES:
        values = (
            seed * rng.standard_normal((repeats, seeds, 1))
            + draw * rng.standard_normal((repeats, 1, draws))
            + rest * rng.standard_normal((repeats, seeds, draws))
        )
        held = [_holds(Scores(each)) for each in values]
        assert np.mean(held) >= 0.93, (seed, draw, rest)


def test_intervals_hold_the_truth_where_test_rows_differ_most() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        skill = 0.1 * rng.standard_normal((3, 1, 1)) + 0.1 * rng.standard_normal((1, 10, 1))
        adds = skill + rng.standard_normal((1, 1, 40)) + 0.2 * rng.standard_normal((3, 10, 40))
        held.append((_holds(Scores(adds.mean(axis=2), adds.mean(axis=1))), _holds(Scores(adds.mean(axis=2)))))
    with_rows, without = np.mean(held, axis=0)
    assert with_rows >= 0.93
    assert without < 0.85


def test_a_bootstrap_from_ten_seeds_on_holds_the_truth_too() -> None:
    rng = np.random.default_rng(5)
    for seed, draw, rest in ((1, 1, 1), (0.3, 1, 0.3)):
        values = (
            seed * rng.standard_normal((300, 10, 1))
            + draw * rng.standard_normal((300, 1, 10))
            + rest * rng.standard_normal((300, 10, 10))
        )
        assert Scores(values[0]).estimate().interval.method == "bootstrap"  # type: ignore[union-attr]
        assert np.mean([_holds(Scores(each)) for each in values]) >= 0.93


def classifier_draws(pool: int, *, seeds: int, repeats: int, per_class: int = 10) -> Iterator[Scores]:
    """Differences of two classifiers that are equally good, each time on a new pool of labelled rows of two classes.

    Rows are normal about +-0.4 in five dimensions, other ones for each classifier and seed. A classifier is the difference of
    the means of the rows of a draw, and its accuracy that of all rows that there could be.
    """
    rng = np.random.default_rng(seeds)
    labels = np.repeat([0, 1], pool).astype(np.int64)
    drawn = [few_label_rows(labels, per_class, draw=draw) for draw in range(10)]
    signs = np.where(labels == 1, 1.0, -1.0)
    weights = np.zeros((10, 2 * pool))
    for weight, rows in zip(weights, drawn, strict=True):
        weight[rows] = signs[rows]
    for _ in range(repeats):
        accuracies = []
        for _ in range(2):
            direction = weights @ (0.4 * signs[:, None] + rng.standard_normal((seeds, 2 * pool, 5)))
            accuracies.append(ndtr(0.4 * direction.sum(axis=-1) / np.linalg.norm(direction, axis=-1)))
        yield Scores(accuracies[0] - accuracies[1], overlap=expected_overlap(labels, drawn[0]))


@pytest.mark.parametrize(("pool", "taken_as_independent"), [(12, 0.5), (15, 0.35), (20, 0.25)])
def test_draws_from_a_small_pool_seldom_find_a_difference_that_is_none(pool: int, taken_as_independent: float) -> None:
    made = list(classifier_draws(pool, seeds=1, repeats=200))
    assert np.mean([_p(each) < 0.05 for each in made]) <= 0.05
    assert np.mean([_p(replace(each, overlap=0.0)) < 0.05 for each in made]) > taken_as_independent
    three = list(classifier_draws(pool, seeds=3, repeats=100))
    assert np.mean([_p(each) < 0.05 for each in three]) <= 0.05


def test_draws_from_a_large_pool_are_as_good_as_independent() -> None:
    made = list(classifier_draws(2000, seeds=1, repeats=100))
    assert made[0].inflation == pytest.approx(1 + 10 * 0.005 / 0.995)
    wider = [_width(each) / _width(replace(each, overlap=0.0)) for each in made]
    assert wider == pytest.approx([np.sqrt(made[0].inflation)] * 100)
    assert 1 < wider[0] < 1.03


def test_the_draws_part_alone_grows_with_their_overlap() -> None:
    rows = np.random.default_rng(0).random((3, 50))
    spread = Scores(BY_HAND.values, rows, overlap=0.25).spread()
    assert spread is not None
    terms = {term.source: term.variance * 9 for term in spread.terms if term.source != "rows"}
    assert terms == {
        "seeds": pytest.approx(12),
        "draws": pytest.approx(9 * 3 * (1 / 3 + 0.25 / 0.75)),
        "rest": pytest.approx(-3),
    }
    assert (Scores(BY_HAND.values, overlap=0.25) - Scores(BY_HAND.values, overlap=0.5)).overlap == 0.5
    one_draw = Scores(BY_HAND.values[:, :1], overlap=0.25)
    assert one_draw.inflation == 1
    wide, narrow = (resampled([Scores(BY_HAND.values[:1], overlap=overlap)]).std() for overlap in (0.25, 0.0))
    assert wide / narrow == pytest.approx(np.sqrt(3 * (1 / 3 + 0.25 / 0.75)))


def test_draws_that_are_all_the_same_rows_give_no_interval() -> None:
    (same,) = classifier_draws(10, seeds=3, repeats=1)
    assert same.one_pool
    assert same.estimate().interval is None
    assert same.p_value() is None
    assert rank_intervals([same, same]) == [None, None]


def _p(scores: Scores) -> float:
    p = scores.p_value()
    assert p is not None
    return p


def _width(scores: Scores) -> float:
    spread = scores.spread()
    assert spread is not None
    return spread.half_width()


def _holds(scores: Scores) -> bool:
    interval = scores.estimate().interval
    assert interval is not None
    return interval.low <= 0 <= interval.high


@pytest.mark.parametrize("seeds", [2, 3])
def test_p_is_below_5_percent_just_where_the_interval_leaves_zero_out(seeds: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        scores = Scores(rng.standard_normal((seeds, 1)) * 0.3 + rng.standard_normal((seeds, 6)) + 0.7)
        p = scores.p_value()
        assert p is not None
        assert (p < 0.05) == (not _holds(scores))


def test_differences_are_paired_by_seed_draw_and_row() -> None:
    task = Scores(np.array([[0.7, 0.8], [0.8, 0.9]]), np.array([[1.0, 0.5], [1.0, 0.7]]))
    once = Scores(np.array([[0.6, 0.7]]), np.array([[0.9, 0.4]]))
    difference = task - once
    assert difference.values == pytest.approx(np.array([[0.1, 0.1], [0.2, 0.2]]))
    assert difference.rows == pytest.approx(np.array([[0.1, 0.1], [0.1, 0.3]]))
    with pytest.raises(ValueError, match="2 seeds cannot be paired with 3"):
        task - Scores(np.zeros((3, 2)))


def test_what_cannot_be_paired_is_left_out_of_a_difference() -> None:
    task = Scores(np.array([[0.7, 0.8, 0.9]]), np.zeros((1, 4)))
    assert (task - Scores(np.zeros((1, 3)), np.zeros((1, 5)))).rows is None
    fewer = task - Scores(np.zeros((1, 2)), np.zeros((1, 4)))
    assert fewer.values == pytest.approx(np.array([[0.7, 0.8]]))
    assert fewer.rows is None


def test_scores_are_two_dimensional() -> None:
    with pytest.raises(ValueError, match=r"\[seeds, draws\], not \[3\]"):
        Scores(np.zeros(3))


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03 by 3, 2, 1: 0.03, 0.04, and no less than the one before it.
    assert holm([0.03, None, 0.01, 0.02]) == pytest.approx([0.04, None, 0.03, 0.04], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_ranks_are_sure_where_scores_lie_apart_and_not_where_they_do_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 1)) * 0.01
    good, better, bad = (Scores(level + noise + 0.01 * rng.standard_normal((3, 10))) for level in (0.80, 0.801, 0.6))
    assert rank_intervals([good, better, bad]) == [(1, 2), (1, 2), (3, 3)]
    assert rank_intervals([good, better, bad], sign=-1) == [(2, 3), (2, 3), (1, 1)]
    assert rank_intervals([good]) == [(1, 1)]
    assert rank_intervals([good, Scores(np.array([[0.5]]))]) == [None, None]


def test_ranks_resample_the_same_draws_and_rows_for_all() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((1, 10))
    rows = rng.standard_normal((1, 50))
    pair = [Scores(0.5 + shared, rows), Scores(0.51 + shared, rows)]
    assert np.allclose(np.diff(resampled(pair), axis=1), 0.01)
    assert rank_intervals(pair) == [(2, 2), (1, 1)]


def test_resampling_gives_the_same_every_time() -> None:
    scores = [Scores(np.random.default_rng(0).standard_normal((3, 10)), np.random.default_rng(1).standard_normal((3, 50)))]
    first = resampled(scores)
    scores_module._weights.cache_clear()
    assert np.array_equal(resampled(scores), first)
