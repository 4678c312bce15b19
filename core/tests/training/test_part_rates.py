"""Learning rates of the parts of a backbone, and parts that are not trained at all."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

import selfsup
from selfsup.artifacts import Encoder
from selfsup.backbones import part_networks
from selfsup.evaluation.finetuned_model import FinetunedModel, Head
from selfsup.registry import registry
from selfsup.testing.kit.cases import TaskCase
from selfsup.training.loop.optimizers import finetuning_scales, module_scales
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig

pytestmark = pytest.mark.usefixtures("toy")
SMALL = {"objective.hidden_dim": 32, "objective.output_dim": 32}


class Towers(TaskCase):
    """A task on towers, the first frozen and the second at a tenth of the rate."""

    def backbone_options(self) -> dict[str, Any]:
        return {"frozen": ("first",), "lr_scale": {"second": 0.1}}


def make_stepper(task_id: str, **options: Any) -> Stepper:
    task = Towers(registry().tasks[task_id]).build()
    config = OptimizationConfig(optimizer="adamw", lr=0.02, ema=0.5, **options)
    fabric = Fabric(accelerator="cpu", devices=1)
    return Stepper(fabric, task, config, total_steps=4, warmup_steps=0, generator=torch.Generator().manual_seed(0))


def tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """Weights and buffers, copied."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert before.keys() == after.keys()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert not changed


def test_every_parameter_has_the_rate_that_was_asked_for() -> None:
    stepper = make_stepper("sequence-pair/simclr", bias_lr_scale=0.5)
    names = {id(parameter): name for name, parameter in stepper.task.named_parameters()}
    batch = Towers(stepper_spec()).batch()
    stepper.take(batch)
    rates = {names[id(parameter)]: group["lr"] for group in stepper._plain.param_groups for parameter in group["params"]}
    assert not any(name.startswith("backbone.towers.first") for name in rates)
    for name, parameter in stepper.task.named_parameters():
        if name.startswith("backbone.towers.first"):
            continue
        bias = parameter.ndim == 1 or name.endswith("bias")
        wanted = stepper.last_lr * (0.1 if name.startswith("backbone.towers.second") else 1.0) * (0.5 if bias else 1.0)
        assert rates[name] == pytest.approx(wanted), name
    assert {name for name, parameter in stepper.task.named_parameters() if parameter.requires_grad} == rates.keys()


def stepper_spec() -> Any:
    return registry().tasks["sequence-pair/simclr"]


@pytest.mark.parametrize("objective", ["simclr", "byol", "dino"])
def test_a_frozen_part_does_not_change_by_one_bit(objective: str) -> None:
    """Nor does its moving average, in the task or over the run's weights; the other part learns."""
    stepper = make_stepper(f"sequence-pair/{objective}", weight_decay=0.1)
    task, average = stepper.task, stepper.average
    assert average is not None
    networks = [task.backbone, average.module]
    if getattr(task, "momentum", None) is not None:
        networks.append(task.momentum.module.backbone)
    before = [(tensors(network.part("first")), tensors(network.part("second"))) for network in networks]
    assert_same(before[0][0], before[-1][0])
    for number in range(3):
        task.train()
        stepper.take(Towers(stepper_spec()).batch(number))
    for network, (first, second) in zip(networks, before, strict=True):
        assert_same(first, tensors(network.part("first")))
        assert any(not torch.equal(value, second[name]) for name, value in tensors(network.part("second")).items())
    assert not any(module.training for module in task.backbone.part("first").modules())


def test_parts_stay_frozen_in_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"backbone.frozen": ["first"], "backbone.lr_scale": {"second": 0.1}, **SMALL}
    given: dict[str, Any] = {"data": "toy-pairs", "batch_size": 32, "steps": 4, "progress": False, "overrides": options}
    whole = selfsup.pretrain("sequence-pair/simclr", out=tmp_path / "whole", **given)
    taken, take = [], Stepper.take

    def stop_after_two(stepper: Stepper, batch: Any) -> None:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(1)
        take(stepper, batch)

    monkeypatch.setattr(Stepper, "take", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        selfsup.pretrain("sequence-pair/simclr", out=tmp_path / "cut", checkpoint_every=1, **given)
    monkeypatch.undo()
    cut = selfsup.pretrain("sequence-pair/simclr", out=tmp_path / "cut", resume=True, **given)
    start = selfsup.pretrain("sequence-pair/simclr", out=tmp_path / "start", **{**given, "steps": 0})
    assert_same(tensors(whole.encoder.backbone), tensors(cut.encoder.backbone))
    assert_same(tensors(start.encoder.part("first")), tensors(cut.encoder.part("first")))
    assert not cut.encoder.train().part("first").backbone.training


def pair_encoder(**options: Any) -> Encoder:
    case = Towers(stepper_spec())
    backbone, full = registry().build_backbone("sequence-pair/towers", options, case.processor().info())
    return Encoder(case.processor(), backbone, backbone_id="sequence-pair/towers", backbone_options=full)


def test_layers_of_each_part_count_for_themselves() -> None:
    """A tower of two blocks and one of three, at a decay of 0.5; the second tower takes a tenth of the rate besides."""
    towers = {"first": "sequence/transformer", "second": "sequence/transformer"}
    encoder = pair_encoder(towers=towers, lr_scale={"second": 0.1})
    model = FinetunedModel(encoder, Head(encoder.embed_dim, 3))
    assert len(part_networks(encoder.backbone)) == 2
    scales = finetuning_scales(model, encoder.backbone, 0.5, head=model.head)
    assert scales.keys() == {name for name, _ in model.named_parameters()}
    start = "encoder.backbone.towers"
    for part, rate in (("first", 1.0), ("second", 0.1)):
        assert scales[f"{start}.{part}.embedding.weight"] == pytest.approx(rate * 0.5**3)
        for block, power in ((0, 2), (1, 1)):
            found = [scale for name, scale in scales.items() if name.startswith(f"{start}.{part}.transformer.blocks.{block}.")]
            assert found == pytest.approx([rate * 0.5**power] * 12)
        assert scales[f"encoder.backbone.projections.{part}.weight"] == 1.0
    assert scales["head.linear.weight"] == 1.0


def test_of_several_members_the_last_one_says() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    scales = module_scales(module, [(module, 0.5), (module[1], 0.25)])
    assert scales == {"0.weight": 0.5, "0.bias": 0.5, "1.weight": 0.25, "1.bias": 0.25}
    assert set(module_scales(module, []).values()) == {1.0}


def test_fine_tuning_trains_a_part_that_was_frozen() -> None:
    encoder = pair_encoder(frozen=("first",))
    before = tensors(deepcopy(encoder).part("first"))
    options = {"epochs": 1, "min_steps": 3, "precision": "32"}
    tuned = selfsup.finetune(encoder, "toy-pairs", options=options).model
    assert_same(before, tensors(encoder.part("first")))
    after = tensors(tuned.encoder.part("first"))
    assert all(not torch.equal(value, after[name]) for name, value in before.items() if "weight" in name)
    assert not torch.equal(before["backbone.norms.0.running_mean"], after["backbone.norms.0.running_mean"])
