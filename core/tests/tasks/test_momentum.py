"""The moving average of a network."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from selfsup.objectives.byol import RECIPE as BYOL
from selfsup.objectives.dino import RECIPE as DINO
from selfsup.objectives.moco import MOCOV2, MOCOV3
from selfsup.objectives.tico import RECIPE as TICO
from selfsup.tasks.latent.data2vec import Data2VecConfig
from selfsup.tasks.latent.ijepa import IJEPAConfig
from selfsup.tasks.latent.teacher import Teacher, TeacherConfig
from selfsup.tasks.latent.vjepa import VJEPAConfig
from selfsup.tasks.parts.moving_average import (
    MomentumConfig,
    MomentumEncoder,
    cosine_momentum,
    kept_initial_share,
    power_of_short_runs,
)
from selfsup.testing.toy.sequences.shortcuts import toy_backbone


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_momentum_follows_a_cosine():
    assert cosine_momentum(0.0, 0.996, 1.0) == pytest.approx(0.996)
    assert cosine_momentum(0.25, 0.9, 1.0) == pytest.approx(1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2)
    assert cosine_momentum(1.0, 0.996, 1.0) == 1.0


def test_update_is_an_exponential_moving_average():
    online = network()
    average = MomentumEncoder(online, 0.9, 0.9)
    before = [parameter.clone() for parameter in average.module.parameters()]
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(1.0)
    average.update(online, 0.5)
    for old, mine, new in zip(before, average.module.parameters(), online.parameters(), strict=True):
        assert torch.allclose(mine, 0.9 * old + 0.1 * new)


def test_copy_is_apart_and_takes_no_gradient():
    online = network()
    average = MomentumEncoder(online, 0.9, 1.0)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in online.parameters())
    assert not average(torch.randn(5, 3)).requires_grad
    assert average.module[0].weight.data_ptr() != online[0].weight.data_ptr()


def test_training_copy_keeps_its_own_statistics_and_evaluating_copy_averages_them():
    online = network()
    for training in (True, False):
        average = MomentumEncoder(online, 0.75, 0.75).train(training)
        with torch.no_grad():
            average.module[1].running_mean.fill_(4.0)
            online[1].running_mean.fill_(8.0)
            online[1].num_batches_tracked.fill_(7)
        average.update(online, 0.0)
        assert average.module[1].running_mean.tolist() == [4.0 if training else 5.0] * 4
        assert int(average.module[1].num_batches_tracked) == (0 if training else 7)


def test_other_buffers_are_copied():
    online = nn.Linear(2, 2)
    online.register_buffer("scale", torch.zeros(2))
    average = MomentumEncoder(online, 0.9, 1.0)
    online.scale.fill_(3.0)
    average.update(online, 0.0)
    assert average.module.scale.tolist() == [3.0, 3.0]


def test_falling_momentum_is_refused():
    with pytest.raises(ValidationError, match=r"start=0.9 is above end=0.5"):
        MomentumConfig(start=0.9, end=0.5)


RECIPES = {"byol": BYOL, "dino": DINO, "mocov2": MOCOV2, "mocov3": MOCOV3, "tico": TICO}
TEACHERS = {"ijepa": IJEPAConfig().teacher, "vjepa": VJEPAConfig().teacher, "data2vec": Data2VecConfig().teacher}
UPDATES = {
    # ImageNet's 1,281,167 images: BYOL and TiCo 1000 epochs of 4096, MoCo v2 200 of 256, v3 300 of 4096, DINO 300 of 1024.
    "byol": 312_785, "tico": 312_785, "mocov2": 1_000_912, "mocov3": 93_836, "dino": 375_342,
    # I-JEPA 300 epochs of 2048; V-JEPA and data2vec (speech) say their updates.
    "ijepa": 187_671, "vjepa": 90_000, "data2vec": 400_000,
}  # fmt: skip


def average(name: str) -> MomentumEncoder[nn.Module]:
    if name in TEACHERS:
        return Teacher(toy_backbone("ids"), TEACHERS[name])
    start, end = RECIPES[name].momentum
    return MomentumEncoder(nn.Linear(1, 1), start, end, MomentumConfig().initial_share)


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("steps", [30, 200, 500, 2000])
def test_a_short_run_forgets_its_start(name: str, steps: int) -> None:
    made = average(name)
    made.fit_to_run(steps)
    left = math.prod(made.momentum(step / steps) for step in range(1, steps + 1))
    assert left <= 0.02 + 1e-9
    assert made.share_left(steps) == pytest.approx(left, abs=1e-12)
    momenta = [made.momentum(step / steps) for step in range(1, steps + 1)]
    assert momenta == sorted(momenta), "a run must not forget faster at its end"
    assert min(momenta) > 0.5 or steps < 200, "the teacher would be the student"


@pytest.mark.parametrize("name", UPDATES)
def test_a_run_of_the_papers_length_has_the_papers_momenta(name: str) -> None:
    made = average(name)
    made.fit_to_run(UPDATES[name])
    assert made.power == 1.0
    assert [made.momentum(p) for p in (0.0, 0.3, 1.0)] == [made.course(p) for p in (0.0, 0.3, 1.0)]


def test_the_shares_that_short_runs_had_before() -> None:
    """What the papers' momenta leave of the random start after 200 and 500 steps."""
    shares = {
        name: [round(100 * average(name).share_left(steps)) for steps in (200, 500)] for name in ("vjepa", "ijepa", "byol")
    }
    assert shares == {"vjepa": [82, 61], "ijepa": [67, 37], "byol": [67, 37]}


def test_momenta_of_ones_own_are_taken_as_they_are_written() -> None:
    for config in (MomentumConfig(start=0.99), MomentumConfig(end=0.999), TeacherConfig(ramp=0.5)):
        assert config.initial_share is None
    assert TeacherConfig(start=0.99, initial_share=0.1).initial_share == 0.1
    assert (MomentumConfig().initial_share, VJEPAConfig().teacher.initial_share) == (0.02, 0.02)
    made = Teacher(toy_backbone("ids"), TeacherConfig(start=0.99, end=0.99))
    made.fit_to_run(10)
    assert made.momentum(0.5) == 0.99


def test_the_update_uses_the_momentum_of_the_run() -> None:
    online = nn.Linear(2, 2)
    made = MomentumEncoder(online, 0.996, 0.996, 0.02)
    before = made.module.weight.detach().clone()
    with torch.no_grad():
        online.weight.add_(1.0)
    steps = 8
    made.fit_to_run(steps)
    for step in range(steps):
        made.update(online, (step + 1) / steps)
    torch.testing.assert_close(made.module.weight, before + 0.98)


def test_momenta_that_never_move_the_copy_stay() -> None:
    assert power_of_short_runs([1.0, 1.0], 0.02) == 1.0
    assert power_of_short_runs([0.0, 0.5], 0.02) == 1.0


def test_the_share_is_that_of_the_network_that_is_kept() -> None:
    online = nn.Sequential(nn.Linear(2, 2))
    task = nn.ModuleDict({"online": online, "average": MomentumEncoder(online, 0.99, 0.99)})
    assert kept_initial_share(task, task["average"].module[0], 100) == pytest.approx(0.99**100)
    assert kept_initial_share(task, online[0], 100) == 0.0
