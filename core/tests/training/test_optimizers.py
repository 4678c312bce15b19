from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from selfsup.errors import ConfigError
from selfsup.training.loop.lars import LARS
from selfsup.training.loop.optimizers import build_optimizer, parameter_groups, set_hyperparameters
from selfsup.training.run.config import OptimizationConfig


def test_lars_agrees_with_the_algorithm_by_hand() -> None:
    lr, momentum, decay, trust = 0.5, 0.9, 0.1, 0.01
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    bias = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = LARS(
        [{"params": [weight], "weight_decay": decay}, {"params": [bias], "adapt": False}], lr, momentum, trust_coefficient=trust
    )
    w, b = [3.0, 4.0], 1.0
    vw, vb = [0.0, 0.0], 0.0
    for g, gb in (([0.0, 2.0], 0.5), ([1.0, -1.0], -2.0)):
        weight.grad, bias.grad = torch.tensor([g], dtype=torch.float64), torch.tensor([gb], dtype=torch.float64)
        optimizer.step()
        norm_w, norm_g = (w[0] ** 2 + w[1] ** 2) ** 0.5, (g[0] ** 2 + g[1] ** 2) ** 0.5
        local = trust * norm_w / (norm_g + decay * norm_w)
        vw = [momentum * v + lr * local * (gi + decay * wi) for v, gi, wi in zip(vw, g, w, strict=True)]
        vb = momentum * vb + lr * gb
        w, b = [wi - v for wi, v in zip(w, vw, strict=True)], b - vb
    assert weight.tolist()[0] == pytest.approx(w, abs=1e-14)
    assert bias.tolist() == pytest.approx([b], abs=1e-14)


def test_lars_takes_a_plain_step_where_weights_are_zero() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.full((2, 2), -0.1))


def test_lars_leaves_parameters_without_gradient() -> None:
    weight = nn.Parameter(torch.ones(2))
    LARS([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), torch.ones(2))


def test_biases_norms_and_vectors_have_no_weight_decay() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    module.register_parameter("frozen", nn.Parameter(torch.zeros(3, 3), requires_grad=False))
    decayed, rest = parameter_groups(module, 0.1)
    assert [parameter.shape for parameter in decayed["params"]] == [(4, 3)]
    assert decayed["weight_decay"] == 0.1
    assert [parameter.shape for parameter in rest["params"]] == [(4,), (4,), (4,)]
    assert rest["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD), ("lars", LARS)],
)
def test_every_optimizer_is_built_with_its_options_and_learns(name: Any, kind: type) -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    config = OptimizationConfig(optimizer=name, lr=0.05, weight_decay=0.01, momentum=0.5, betas=(0.8, 0.9), eps=1e-6)
    optimizer = build_optimizer(module, config.model_copy(update={"trust_coefficient": 0.1}))
    assert type(optimizer) is kind
    options = optimizer.param_groups[0]
    assert options["lr"] == 0.05
    if name in ("sgd", "lars"):
        assert options["momentum"] == 0.5
    else:
        assert (options["betas"], options["eps"]) == ((0.8, 0.9), 1e-6)
    if name == "lars":
        assert [group["adapt"] for group in optimizer.param_groups] == [True, False]
        assert options["trust_coefficient"] == 0.1
    x = torch.randn(32, 4)
    y = x.sum(dim=1, keepdim=True)
    losses = []
    for _ in range(30):
        loss = (module(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_schedules_reach_the_groups_and_spare_those_without_decay() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizationConfig(weight_decay=0.3))
    set_hyperparameters(optimizer, lr=0.7, weight_decay=0.2)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.7, 0.2), (0.7, 0.0)]


def test_biases_and_norms_have_a_rate_of_their_own() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = build_optimizer(module, OptimizationConfig(optimizer="lars", lr=0.5, bias_lr_scale=0.024, weight_decay=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.012])
    set_hyperparameters(optimizer, lr=0.25, weight_decay=0.2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.25, 0.006])
    before = [parameter.detach().clone() for parameter in module[1].parameters()]
    module(torch.randn(8, 3)).square().sum().backward()
    expected = [old - 0.006 * parameter.grad for old, parameter in zip(before, module[1].parameters(), strict=True)]
    optimizer.step()
    for new, wanted in zip(module[1].parameters(), expected, strict=True):
        torch.testing.assert_close(new.detach(), wanted)


def test_the_rates_of_groups_are_kept_by_a_checkpoint() -> None:
    config = OptimizationConfig(optimizer="lars", lr=0.5, bias_lr_scale=0.1)
    state = build_optimizer(nn.Linear(2, 2), config).state_dict()
    resumed = build_optimizer(nn.Linear(2, 2), config.model_copy(update={"bias_lr_scale": 1.0}))
    resumed.load_state_dict(state)
    set_hyperparameters(resumed, lr=0.2, weight_decay=0.0)
    assert [group["lr"] for group in resumed.param_groups] == pytest.approx([0.2, 0.02])


def test_parameters_with_other_factors_are_in_other_groups() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    factors = {"0": 0.25, "1": 1.0}
    groups = parameter_groups(module, 0.1, bias_scale=0.5, scale_of=lambda name: factors[name.partition(".")[0]])
    assert [(group["decays"], group["scale"], [tuple(p.shape) for p in group["params"]]) for group in groups] == [
        (True, 0.25, [(4, 3)]), (True, 1.0, [(2, 4)]), (False, 0.125, [(4,)]), (False, 0.5, [(2,)]),
    ]  # fmt: skip
    optimizer = build_optimizer(module, OptimizationConfig(lr=1.0, bias_lr_scale=0.5), scale_of=lambda name: 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.125]


@pytest.mark.parametrize(("adapted", "bias"), [(False, -1.0), (True, 1.0 - 0.1)])
def test_lars_adapts_biases_where_it_is_told_to(adapted: bool, bias: float) -> None:
    module = nn.Linear(1, 1)
    nn.init.ones_(module.bias)
    config = OptimizationConfig(optimizer="lars", lr=1.0, weight_decay=0.0, trust_coefficient=0.1, adapt_biases=adapted)
    optimizer = build_optimizer(module, config)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    optimizer.step()
    assert module.bias.item() == pytest.approx(bias)


def test_a_task_without_parameters_cannot_be_trained() -> None:
    with pytest.raises(ConfigError, match="no trainable parameter"):
        build_optimizer(nn.Identity(), OptimizationConfig())
