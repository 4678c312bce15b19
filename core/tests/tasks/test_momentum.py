"""The moving average of a network."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from selfsup.tasks.momentum import MomentumConfig, MomentumEncoder, cosine_momentum


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
