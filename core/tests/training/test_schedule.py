from __future__ import annotations

import math

import pytest

from selfsup.training.loop.schedule import cosine, learning_rate, weight_decay
from selfsup.training.run.config import OptimizationConfig


def test_warmup_rises_linearly_and_loses_no_step() -> None:
    rates = [learning_rate(step, 100, peak=1.0, warmup=4) for step in range(5)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_halves_in_the_middle_and_ends_at_its_fraction() -> None:
    assert learning_rate(52, 100, peak=2.0, warmup=4) == pytest.approx(1.0)
    assert learning_rate(100, 100, peak=2.0, warmup=4, final_fraction=0.1) == pytest.approx(0.2)
    assert learning_rate(99, 100, peak=1.0) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))


def test_constant_stays() -> None:
    assert {learning_rate(step, 10, peak=3.0, warmup=2, schedule="constant") for step in range(1, 10)} == {3.0}


def test_weight_decay_is_constant_or_a_cosine() -> None:
    assert weight_decay(7, 10, start=0.1, end=None) == 0.1
    assert weight_decay(0, 10, start=0.04, end=0.4) == pytest.approx(0.04)
    assert weight_decay(5, 10, start=0.04, end=0.4) == pytest.approx(0.22)
    assert cosine(0.0, 1.0, 2.0) == 1.0


def test_peak_is_scaled_by_the_batch_unless_given() -> None:
    assert OptimizationConfig(base_lr=0.3, batch_size=1024).peak_lr() == pytest.approx(1.2)
    assert OptimizationConfig(lr=0.5, batch_size=1024).peak_lr() == 0.5


def test_budget_in_epochs_steps_and_with_a_limit() -> None:
    assert OptimizationConfig().total_steps(10) == 1000
    assert OptimizationConfig(epochs=3).total_steps(10) == 30
    assert OptimizationConfig(epochs=3, max_steps=7).total_steps(10) == 7
    assert OptimizationConfig(steps=0).total_steps(10) == 0


def test_warmup_in_epochs_is_at_most_half_of_the_run() -> None:
    assert OptimizationConfig(epochs=10, warmup_epochs=2).warmup_steps(5) == 10
    assert OptimizationConfig(epochs=2, warmup_epochs=10).warmup_steps(5) == 5
    assert OptimizationConfig(epochs=10, warmup_fraction=0.1).warmup_steps(5) == 5


def test_two_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="epochs and steps are both set"):
        OptimizationConfig(epochs=1, steps=1)
