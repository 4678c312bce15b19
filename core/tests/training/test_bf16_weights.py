"""Weights in bf16: small updates count, averages move, and a run goes on to the last bit."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import selfsup
from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup.tasks import PretextTask, StepOutput
from selfsup.tasks.parts.moving_average import MomentumEncoder
from selfsup.training.device.devices import resolve_devices
from selfsup.training.device.fabric import Fabric
from selfsup.training.loop import bf16_weights
from selfsup.training.loop.bf16_weights import Float32Steps, rounded_at_random, store_in_bf16, store_in_float32
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig, RunConfig
from selfsup.types import Batch

LiveBytes = runpy.run_path(str(Path(__file__).with_name("live_bytes.py")))["LiveBytes"]
WIDTH, STEPS = 32, 40


class Words(Backbone):
    """Everything that weights are of: words, a convolution, linear layers (one frozen), a norm, a learned position."""

    modality = "toy"
    embed_dim = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, WIDTH)
        self.position = nn.Parameter(torch.zeros(1, 5, WIDTH))
        self.convolution = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.layers = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm([5, WIDTH]), nn.Linear(WIDTH, WIDTH))
        self.fixed = nn.Linear(WIDTH, WIDTH).requires_grad_(False)

    def forward(self, batch: Batch) -> Encoded:
        x = self.words(batch["x"]) + self.position
        x = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        return Encoded(self.fixed(self.layers(x)).mean(dim=1))


class Task(PretextTask):
    """Classes of five words by their sum, and a moving average."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Words()
        self.target = MomentumEncoder(self.backbone, 0.999, 0.999)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        logits = self.head(self.backbone(batch).pooled).float()
        return StepOutput(nn.functional.cross_entropy(logits, batch["y"]), {})

    def after_step(self, progress: float) -> None:
        self.target.update(self.backbone, progress)


def batch(step: int) -> Batch:
    x = torch.randint(11, (64, 5), generator=torch.Generator().manual_seed(step))
    return {"x": x, "y": (x[:, 0] + x[:, 1]) // 7}


def stepper(halves: bool, **options: Any) -> Stepper:
    task = Task()
    if halves:
        assert store_in_bf16(task) == 5 * WIDTH * WIDTH
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    config = OptimizationConfig(**{"optimizer": "adamw", "lr": 3e-3, "schedule": "constant", **options})
    return Stepper(fabric, task, config, total_steps=STEPS, warmup_steps=0, generator=torch.Generator())


def trained(halves: bool, **options: Any) -> tuple[list[float], Stepper]:
    made = stepper(halves, **options)
    for step in range(STEPS):
        made.take(batch(step))
    return made.drain(), made


def test_matrices_of_the_backbone_are_in_bf16_and_all_else_in_float32() -> None:
    task = Task()
    store_in_bf16(task)
    halves = {name for name, parameter in task.named_parameters() if parameter.dtype == torch.bfloat16}
    assert halves == {"backbone.convolution.weight", "backbone.layers.0.weight", "backbone.layers.3.weight"}
    assert all(buffer.dtype != torch.bfloat16 for buffer in task.buffers())
    store_in_float32(task.backbone)
    assert all(parameter.dtype == torch.float32 for parameter in task.parameters())


def test_rounding_at_random_is_exact_in_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    kept = torch.tensor([0.0, -0.0, 1.0, -3.5, torch.inf, -torch.inf, torch.nan, 2.0**-130])
    assert torch.equal(rounded_at_random(kept, generator).float().nan_to_num(7), kept.nan_to_num(7))
    x = torch.tensor([1.001, -0.3, 1e-5, 12345.6])
    drawn = torch.stack([rounded_at_random(x, generator).float() for _ in range(4000)])
    assert all(len(column.unique()) == 2 for column in drawn.T)
    torch.testing.assert_close(drawn.mean(dim=0), x, rtol=3e-4, atol=0)


LRS = {"adamw": 5e-5, "adam": 5e-5, "sgd": 2e-3, "lars": 3e-2}


@pytest.mark.parametrize("optimizer", LRS)
def test_every_optimizer_makes_updates_that_the_nearest_number_would_lose(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step moves weights by less than half of their last bit; 200 of them come to what float32 comes to."""

    def moved(halves: bool) -> tuple[Tensor, Tensor]:
        options = {"optimizer": optimizer, "weight_decay": 0.0, "lr": LRS[optimizer]}
        made = stepper(halves, **options)
        weight = made.task.get_parameter("backbone.layers.0.weight")
        start = weight.detach().float().clone()
        for step in range(200):
            for parameter in made.task.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.full_like(parameter, 0.003)
            if made._in_float32 is None:
                made.optimizer.step()
            else:
                made._in_float32.step(step)
        return start, weight.detach().float() - start

    start, wanted = moved(False)
    _, found = moved(True)
    large = start.abs() > 0.05
    assert float((wanted[large].abs() / 200).max()) < float(start[large].abs().min()) / 2**9
    assert found[large].mean() == pytest.approx(wanted[large].mean().item(), rel=0.1)
    monkeypatch.setattr(bf16_weights, "rounded_at_random", lambda x, generator: x.bfloat16())
    _, nearest = moved(True)
    assert nearest[large].abs().max() == 0  # what the rounding is for


def test_training_reaches_the_loss_of_float32_weights() -> None:
    (wide, _), (half, made) = trained(False), trained(True)
    last = [sum(losses[-5:]) / 5 for losses in (wide, half)]
    assert last[0] < 0.8 * wide[0]
    assert last[1] == pytest.approx(last[0], rel=0.1)
    state = [value for values in made._plain.state.values() for key, value in values.items() if key.startswith("exp")]
    assert state
    assert all(value.dtype == torch.float32 for value in state)
    assert made.task.get_parameter("backbone.layers.0.weight").dtype == torch.bfloat16


def test_an_average_of_bf16_weights_moves_at_a_momentum_of_999_in_a_thousand() -> None:
    network = nn.Linear(64, 64)
    network.weight.data = network.weight.data.bfloat16()
    average = MomentumEncoder(network, 0.999, 0.999)
    assert average.module.weight.dtype == torch.float32
    start, naive = average.module.weight.clone(), network.weight.data.clone()
    with torch.no_grad():
        network.weight.mul_(1.1)
    for _ in range(1000):
        average.move(network, 0.999)
        naive.lerp_(network.weight.data, 0.001)
    # 1 - 0.999^1000 of the way.
    moved, wanted = average.module.weight - start, network.weight.detach().float() - start
    assert float(moved.norm() / wanted.norm()) == pytest.approx(0.632, abs=0.01)
    assert (naive.float() - start).norm() < 0.1 * wanted.norm()


def everything(made: Stepper) -> dict[str, Tensor]:
    """All weights, the average's, and the optimizer's state."""
    average = {} if made.average is None else {f"average.{k}": v for k, v in made.average.module.state_dict().items()}
    states = made._plain.state_dict()["state"].items()
    return {
        **made.task.state_dict(),
        **average,
        **{f"{i}.{key}": value for i, values in states for key, value in values.items()},
    }


@pytest.mark.parametrize("ema", [0.0, 0.999])
def test_a_stepper_goes_on_to_the_last_bit(ema: float, tmp_path: Path) -> None:
    straight, first = stepper(True, ema=ema), stepper(True, ema=ema)
    for step in range(4):
        straight.take(batch(step))
        if step < 2:
            first.take(batch(step))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = stepper(True, ema=ema)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in (2, 3):
        second.take(batch(step))
    wanted, found = everything(straight), everything(second)
    assert wanted.keys() == found.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []
    assert {name: value.dtype for name, value in wanted.items()} == {name: value.dtype for name, value in found.items()}


def test_weights_and_gradients_need_half_and_a_step_a_bounded_number_of_float32_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(16)))

    class Wide(Words):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

    task = nn.ModuleList([Wide()])
    store_in_bf16(task)
    parameters = list(layers.parameters())
    assert sum(p.untyped_storage().nbytes() for p in parameters) == 2 * 16 * 64 * 64
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
        assert parameter.grad.dtype == torch.bfloat16
    steps = Float32Steps(torch.optim.SGD(parameters, lr=0.1))
    peaks = []
    for chunk in (2 * 64 * 64, 2**24):
        monkeypatch.setattr(bf16_weights, "CHUNK", chunk)
        gradients = [parameter.grad for parameter in parameters]
        with LiveBytes([*parameters, *gradients]) as live:
            steps.step(0)
        peaks.append(live.peak)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
    assert peaks[0] < peaks[1] / 3


OPTIONS: dict[str, Any] = {"data": "toy-frames", "batch_size": 16, "progress": False, "precision": "bf16-true"}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("task", ["sequence/mae", "sequence/byol"])
def test_a_run_goes_on_to_the_last_bit_and_leaves_a_float32_encoder(task: str, tmp_path: Path) -> None:
    overrides: dict[str, Any] = {"optimization.schedule": "constant", "optimization.warmup_fraction": 0}
    overrides |= {"momentum.start": 0.9, "momentum.end": 0.9} if task == "sequence/byol" else {}
    options = {**OPTIONS, "backbone": "sequence/transformer"}
    straight = selfsup.pretrain(task, out=tmp_path / "straight", steps=4, overrides=overrides, **options)
    assert straight.config.precision == "bf16-true"
    selfsup.pretrain(task, out=tmp_path / "again", steps=2, overrides=overrides, **options)
    again = selfsup.pretrain(out=tmp_path / "again", resume=True, steps=4, progress=False)
    one, other = straight.encoder.backbone.state_dict(), again.encoder.backbone.state_dict()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert all(value.dtype != torch.bfloat16 for value in one.values())
    saved = torch.load(tmp_path / "straight" / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]["task"]
    assert any(value.dtype == torch.bfloat16 for value in saved.values())
    assert not any(value.dtype == torch.bfloat16 for name, value in saved.items() if not name.startswith("backbone"))


@pytest.mark.slow
@pytest.mark.usefixtures("toy", "forked_workers")
def test_two_processes_keep_the_same_weights(tmp_path: Path) -> None:
    run = selfsup.pretrain("sequence/mae", out=tmp_path / "two", steps=3, devices=2, **OPTIONS)
    alone = selfsup.pretrain("sequence/mae", out=tmp_path / "one", steps=3, **OPTIONS)
    assert run.metrics[-1]["loss"] == pytest.approx(alone.metrics[-1]["loss"], rel=0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("toy", "forked_workers")
def test_two_processes_share_float32_weights_and_gather_them_in_bf16(tmp_path: Path) -> None:
    options: dict[str, Any] = {**OPTIONS, "devices": 2, "strategy": "fsdp"}
    overrides: dict[str, Any] = {"optimization.schedule": "constant", "optimization.warmup_fraction": 0}

    def train(name: str, steps: int, **more: Any) -> selfsup.Run:
        return selfsup.pretrain("sequence/mae", out=tmp_path / name, steps=steps, overrides=overrides, **options | more)

    straight = train("straight", 4)
    train("again", 2)
    again = selfsup.pretrain(out=tmp_path / "again", resume=True, steps=4, progress=False)
    one, other = straight.encoder.backbone.state_dict(), again.encoder.backbone.state_dict()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert all(value.dtype != torch.bfloat16 for value in one.values())
    rounded = train("rounded", 4, precision="bf16")
    overrides["optimization.accumulate"] = 2
    for other_run in (rounded, train("chunks", 4)):
        assert other_run.metrics[-1]["loss"] == pytest.approx(straight.metrics[-1]["loss"], rel=0.05)


def test_where_it_cannot_be_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"task": "toy", "data": "toy", "precision": "bf16-true"}
    chunks = OptimizationConfig(accumulate=2)
    with pytest.raises(ValueError, match="sums over the chunks"):
        RunConfig(**settings, optimization=chunks)
    RunConfig(**settings, optimization=chunks, devices=2, strategy="fsdp")  # sums in float32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="bf16-true needs a CUDA GPU or a CPU"):
        resolve_devices(RunConfig(**settings))
