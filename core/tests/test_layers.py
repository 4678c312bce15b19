"""What a later layer of options takes away from an earlier one."""

from __future__ import annotations

from typing import Any

import pytest

from selfsup.config_layers import OPTIMIZER_DEFAULTS, merge_layers
from selfsup.training.run.config import OptimizationConfig

JEPA = {
    "optimizer": "adamw", "base_lr": 1e-4, "betas": (0.9, 0.95), "weight_decay": 0.04, "weight_decay_end": 0.4,
    "warmup_fraction": 0.1, "clip": 3.0,
}  # fmt: skip
CONSTANT = {"optimizer": "adam", "lr": 3e-4, "weight_decay": 0.0, "schedule": "constant", "warmup_fraction": 0.0}
LARS = {
    "optimizer": "lars", "base_lr": 0.2, "momentum": 0.8, "trust_coefficient": 0.01, "bias_lr_scale": 0.024,
    "adapt_biases": True, "weight_decay": 1e-6, "warmup_epochs": 10, "final_lr_fraction": 0.001, "clip": 1.0,
}  # fmt: skip


def joined(*layers: dict[str, Any]) -> OptimizationConfig:
    return OptimizationConfig(**merge_layers(*layers))


def test_layers_join_deeply_and_a_later_choice_takes_its_counterpart_away() -> None:
    paper = {"optimization": {"lr": 0.1, "epochs": 100, "momentum": 0.9}}
    user = {"optimization": {"base_lr": 0.3, "steps": 5}, "seed": 1}
    assert merge_layers(paper, user) == {"optimization": {"momentum": 0.9, "base_lr": 0.3, "steps": 5}, "seed": 1}
    assert paper["optimization"]["lr"] == 0.1


def test_another_weight_decay_has_no_end_of_the_papers() -> None:
    assert joined(JEPA, {"weight_decay": 1e-4}).weight_decay_end is None
    assert joined(JEPA, {"weight_decay": 1e-4, "weight_decay_end": 0.2}).weight_decay_end == 0.2
    kept = joined(JEPA, {"weight_decay_end": 0.2})
    assert (kept.weight_decay, kept.weight_decay_end) == (0.04, 0.2)


def test_a_peak_alone_leaves_the_course_and_the_warm_up() -> None:
    config = joined(LARS, {"lr": 1e-3})
    assert (config.lr, config.warmup_epochs, config.final_lr_fraction, config.weight_decay) == (1e-3, 10, 0.001, 1e-6)
    config = joined(CONSTANT, {"warmup_fraction": 0.1})
    assert (config.schedule, config.warmup_fraction, config.lr) == ("constant", 0.1, 3e-4)


def test_another_course_drops_the_papers_warm_up_and_end() -> None:
    config = joined(LARS, {"schedule": "constant"})
    assert (config.warmup_epochs, config.warmup_fraction, config.final_lr_fraction) == (None, 0.05, 0.0)
    assert joined(CONSTANT, {"final_lr_fraction": 0.1}).schedule == "cosine"


def test_another_optimizer_drops_what_was_made_for_the_former_one() -> None:
    config = joined(LARS, {"optimizer": "adamw"})
    fresh = OptimizationConfig()
    for name in (
        "lr",
        "base_lr",
        "weight_decay",
        "betas",
        "eps",
        "momentum",
        "trust_coefficient",
        "bias_lr_scale",
        "adapt_biases",
    ):
        assert getattr(config, name) == getattr(fresh, name), name
    assert (config.warmup_epochs, config.clip) == (10, 1.0)
    given = joined(JEPA, {"optimizer": "sgd", "lr": 0.1})
    assert (given.lr, given.weight_decay, given.weight_decay_end, given.betas) == (0.1, 1e-4, None, fresh.betas)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lars"])
def test_each_optimizer_has_defaults_that_suit_it(optimizer: str) -> None:
    former = LARS if optimizer != "lars" else JEPA
    config = joined(former, {"optimizer": optimizer})
    assert config.optimizer == optimizer
    for name, value in OPTIMIZER_DEFAULTS[optimizer].items():
        assert getattr(config, name) == value


def test_the_same_optimizer_keeps_its_settings() -> None:
    assert joined(LARS, {"optimizer": "lars"}) == joined(LARS)
    assert joined({"lr": 0.5}, {"optimizer": "adamw"}).lr == 0.5


def test_momenta_of_ones_own_are_not_fitted_to_the_run() -> None:
    stored = {"teacher": {"start": 0.996, "end": 1.0, "ramp": 1.0, "initial_share": 0.02}}
    for name, value in (("start", 0.9), ("end", 0.999), ("ramp", 0.5)):
        assert merge_layers(stored, {"teacher": {name: value}}) == {
            "teacher": {"start": 0.996, "end": 1.0, "ramp": 1.0, name: value}
        }


def test_what_is_said_again_takes_nothing_away() -> None:
    again = {"optimization": {"weight_decay": 0.04, "optimizer": "adamw"}}
    assert merge_layers({"optimization": JEPA}, again, replace=False) == {"optimization": JEPA}
