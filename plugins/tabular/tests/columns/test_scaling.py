import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from selfsup_tabular.columns.dates import date_parts, has_times_of_day, split_date
from selfsup_tabular.columns.scaling import Scale, fit_scale


def test_standard_scaling_is_scikit_learns():
    values = np.random.default_rng(0).gamma(2, size=500)
    values[::7] = np.nan
    expected = StandardScaler().fit_transform(values[:, None])[:, 0]
    np.testing.assert_allclose(fit_scale(values, "standard", 10)(values), expected)


def test_quantile_scaling_is_the_normal_score_of_the_middle_rank():
    values = np.array([0.0, 0.0, 0.0, 5.0])
    scale = fit_scale(values, "quantile", 256)
    # Ranks 3/8 and 7/8, normal quantiles -0.3186 and 1.1503, then standardised over the four rows.
    scores = np.array([-0.31864, -0.31864, -0.31864, 1.15035])
    np.testing.assert_allclose(scale(values), (scores - scores.mean()) / scores.std(), atol=1e-4)
    assert scale(np.array([2.5]))[0] == pytest.approx((scale(np.array([0.0]))[0] + scale(np.array([5.0]))[0]) / 2)


def test_quantile_scaling_with_fewer_knots_than_values_makes_any_distribution_normal():
    values = np.random.default_rng(0).lognormal(sigma=2, size=20_000)
    scale = fit_scale(values, "quantile", 64)
    assert len(scale.at) <= 64
    scaled = scale(values)
    quantiles = np.quantile(scaled, [0.0228, 0.1587, 0.5, 0.8413, 0.9772])
    np.testing.assert_allclose(quantiles, [-2, -1, 0, 1, 2], atol=0.05)
    assert (np.diff(scaled[np.argsort(values)]) >= 0).all()
    assert scale(np.array([1e9, -1e9])).tolist() == [scaled.max(), scaled.min()]


@pytest.mark.parametrize("scaling", ["quantile", "standard", "none"])
def test_what_is_missing_stays_so_and_infinity_is_the_largest_value(scaling):
    values = np.array([1.0, 2.0, 4.0, np.nan, np.inf, -np.inf])
    scaled = fit_scale(values, scaling, 10)(values)
    assert np.isnan(scaled[3])
    assert (scaled[4], scaled[5]) == (scaled[2], scaled[0])


@pytest.mark.parametrize("scaling", ["quantile", "standard"])
@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_the_unit_does_not_matter(scaling, unit):
    values = np.random.default_rng(0).normal(3, 1, size=500)
    np.testing.assert_allclose(fit_scale(values * unit, scaling, 50)(values * unit), fit_scale(values, scaling, 50)(values))


def test_rounding_of_a_large_value_is_no_spread():
    values = np.full(100_003, 1e9 + 1 / 3)
    assert values.std() > 0
    assert np.abs(fit_scale(values, "standard", 10)(values)).max() < 1e-5


@pytest.mark.parametrize("scaling", ["quantile", "standard", "none"])
def test_what_float32_does_not_hold_is_the_largest_value(scaling):
    values = np.array([1.0, 2.0, 4.0, 1.7e308, -1e39])
    scale = fit_scale(values, scaling, 10)
    assert scale == fit_scale(np.array([1.0, 2.0, 4.0, np.inf, -np.inf]), scaling, 10)
    scaled = scale(values)
    assert (scaled[3], scaled[4]) == (scaled[2], scaled[0])
    small = fit_scale(np.array([0.0, 1e-9, 2e-9]), scaling, 10)
    assert np.isfinite(small(np.array([3e38, 1e308])).astype(np.float32)).all()


@pytest.mark.parametrize("scaling", ["quantile", "standard"])
def test_one_value_and_none_at_all_become_zero(scaling):
    assert fit_scale(np.array([7.0, 7.0]), scaling, 10)(np.array([7.0])).tolist() == [0]
    assert fit_scale(np.array([np.nan]), scaling, 10) == Scale()


def test_dates_are_a_time_and_places_in_cycles():
    days = np.array([0.0, 4.0, 4.25, np.nan])
    assert not has_times_of_day(days[:2])
    assert has_times_of_day(days)
    parts = dict(zip(date_parts(True), split_date(days, True), strict=True))
    assert list(parts) == ["time", "year_sin", "year_cos", "week_sin", "week_cos", "day_sin", "day_cos"]
    np.testing.assert_array_equal(parts["time"], days)
    root = 2**0.5
    np.testing.assert_allclose(parts["week_cos"][1], root, err_msg="day 4 is a Monday")
    np.testing.assert_allclose(parts["day_sin"][1:3], [0, root], atol=1e-9, err_msg="six o'clock is a quarter of the day")
    np.testing.assert_allclose(parts["year_cos"][0], root)
    assert len(split_date(days, False)) == len(date_parts(False)) == 5
