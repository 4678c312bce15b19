from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn import functional as F

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import NonFiniteLossError
from selfsup.objectives.dino import RECIPE as DINO
from selfsup.tasks import PretextTask, StepOutput, Term
from selfsup.tasks.parts.random_masking import mean_term
from selfsup.training.device.tune import tune_for_device
from selfsup.training.loop.stepper import Stepper, clip_each, split_batch
from selfsup.training.run.config import OptimizationConfig
from selfsup.types import Batch


class Linear(Backbone):
    modality = "sequence"
    embed_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, batch: Batch) -> Encoded:
        self.seen += 1
        return Encoded(self.layer(batch["x"]))


class Regression(PretextTask):
    """The loss is a mean over samples, so that parts of a batch add up."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Linear()
        self.calls: list[tuple[str, float]] = []

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        loss = (self.backbone(batch).pooled - batch["y"]).square().mean()
        return StepOutput(loss, {"error": loss.detach()})

    def after_backward(self, progress: float) -> None:
        assert self.backbone.layer.weight.grad is not None
        self.calls.append(("backward", progress))

    def after_step(self, progress: float) -> None:
        self.calls.append(("step", progress))


def make(task: PretextTask | None = None, total: int = 4, **options: Any) -> Stepper:
    torch.manual_seed(0)
    config = OptimizationConfig(**{"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, **options})
    fabric = Fabric(accelerator="cpu", devices=1)
    task = Regression() if task is None else seeded(task)
    return Stepper(fabric, task, config, total_steps=total, warmup_steps=0, generator=torch.Generator())


def seeded(task: PretextTask) -> PretextTask:
    """With the weights that a task has that is made from the seed."""
    torch.manual_seed(0)
    task.load_state_dict(Regression().state_dict())
    return task


def batch(seed: int = 0, n: int = 12) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(n, 3, generator=g), "y": torch.randn(n, 2, generator=g)}


def weights(stepper: Stepper) -> torch.Tensor:
    return stepper.task.backbone.layer.weight.detach().clone()


def test_a_step_is_that_of_a_loop_written_by_hand() -> None:
    stepper = make(optimizer="adamw", lr=0.01, weight_decay=0.1, schedule="constant")
    torch.manual_seed(0)
    task = Regression()
    optimizer = torch.optim.AdamW(
        [{"params": [task.backbone.layer.weight]}, {"params": [task.backbone.layer.bias], "weight_decay": 0.0}],
        lr=0.01,
        weight_decay=0.1,
    )
    for seed in range(3):
        stepper.take(batch(seed))
        optimizer.zero_grad()
        task(batch(seed), None).loss.backward()
        optimizer.step()
    torch.testing.assert_close(weights(stepper), task.backbone.layer.weight.detach())


def test_hooks_of_the_task_are_called_in_order_with_the_progress() -> None:
    stepper = make(total=2)
    stepper.take(batch())
    stepper.take(batch())
    assert stepper.task.calls == [("backward", 0.0), ("step", 0.5), ("backward", 0.5), ("step", 1.0)]


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(parts: int) -> None:
    whole, cut = make(), make(accumulate=parts)
    whole.take(batch())
    cut.take(batch())
    torch.testing.assert_close(weights(cut), weights(whole))
    assert cut.drain() == pytest.approx(whole.drain())
    assert int(cut.task.backbone.seen) == parts


class UnevenTokens(Regression):
    """Means over the tokens that are no padding, and with ``terms`` over all samples and over hidden tokens too."""

    def __init__(self, terms: bool) -> None:
        super().__init__()
        self.terms = terms

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        error = (self.backbone(batch).pooled - batch["y"]).square()
        real = mean_term(error, batch["real"])
        if not self.terms:
            return StepOutput.of(real)
        return StepOutput.of(real, mean_term(error.abs().sqrt(), batch["hidden"]).scaled(3.0), Term(error.sum(dim=1).mean()))


def uneven(n: int = 12, real: float = 0.5) -> Batch:
    """Half of the tokens of the first samples are real, and fewer and fewer of the later ones."""
    g = torch.Generator().manual_seed(1)
    fewer = torch.linspace(1, 0, n).unsqueeze(1)
    made = batch(n=n)
    chance = torch.rand(2, n, 2, generator=g)
    return {**made, "real": (chance[0] < real * fewer).float(), "hidden": (chance[1] < 1 - fewer).float()}


@pytest.mark.parametrize("terms", [False, True])
@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_count_by_their_tokens(parts: int, terms: bool) -> None:
    whole, cut = make(UnevenTokens(terms)), make(UnevenTokens(terms), accumulate=parts)
    for _ in range(2):
        whole.take(uneven())
        cut.take(uneven())
    torch.testing.assert_close(weights(cut), weights(whole))
    assert cut.drain() == pytest.approx(whole.drain())


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("terms", [False, True])
def test_a_batch_without_a_token_changes_nothing(parts: int, terms: bool) -> None:
    stepper = make(UnevenTokens(terms), accumulate=parts)
    before = weights(stepper)
    empty = {**uneven(), "real": torch.zeros(12, 2), "hidden": torch.zeros(12, 2)}
    stepper.take(empty)
    (loss,) = stepper.drain()
    assert math.isfinite(loss)
    if not terms:
        assert loss == 0
        assert torch.equal(weights(stepper), before)
    stepper.check_weights()


def test_gradients_are_clipped_as_one_mean() -> None:
    whole = make(UnevenTokens(True), clip=0.1)
    cut = make(UnevenTokens(True), accumulate=3, clip=0.1)
    whole.take(uneven())
    cut.take(uneven())
    torch.testing.assert_close(cut.metrics["grad_norm"], whole.metrics["grad_norm"])
    torch.testing.assert_close(weights(cut), weights(whole))


def test_batches_are_cut_into_equal_parts() -> None:
    sizes = [len(part["x"]) for part in split_batch({"x": torch.arange(10)}, 4)]
    assert sizes == [3, 3, 2, 2]
    parts = list(split_batch({"x": torch.arange(6), "y": torch.arange(12).reshape(6, 2)}, 3))
    assert [part["x"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert parts[1]["y"].tolist() == [[4, 5], [6, 7]]


def test_the_gradient_is_clipped_to_its_norm() -> None:
    stepper = make(clip=0.01, lr=1.0, schedule="constant")
    before = torch.cat([parameter.detach().flatten().clone() for parameter in stepper.task.parameters()])
    stepper.take(batch())
    after = torch.cat([parameter.detach().flatten() for parameter in stepper.task.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)
    assert float(stepper.metrics["grad_norm"]) > 0.01


def test_each_parameter_is_clipped_to_the_norm_by_itself_where_asked() -> None:
    """As in DINO's code: a parameter with a small gradient keeps it, whatever the others have."""
    task = make().task
    data = {**batch(), "y": batch()["y"] + torch.tensor([0.0, 3.0])}
    task(data, None).loss.backward()
    gradients = {name: parameter.grad for name, parameter in task.named_parameters()}
    norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    scale = 0.5 * (min(norms.values()) + max(norms.values()))
    stepper = make(clip=scale, clip_per_parameter=True, lr=1.0, schedule="constant")
    before = {name: parameter.detach().clone() for name, parameter in stepper.task.named_parameters()}
    stepper.take(data)
    for name, parameter in stepper.task.named_parameters():
        expected = gradients[name] * min(1.0, scale / norms[name])
        torch.testing.assert_close(before[name] - parameter.detach(), expected, rtol=1e-4, atol=1e-6)
    assert float(stepper.metrics["grad_norm"]) == pytest.approx(math.hypot(*norms.values()), rel=1e-5)


def test_dino_clips_each_parameter() -> None:
    assert DINO.optimization["clip"] == 3.0
    assert OptimizationConfig(**DINO.optimization).clip_per_parameter


def test_gradients_that_are_spread_over_devices_are_clipped_by_their_whole_norm(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        values = [torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])]
        gradients = [distribute_tensor(value, mesh, [Shard(0)]) for value in values]
        norm = clip_each(gradients, 1.0)
        torch.testing.assert_close(gradients[0].full_tensor(), torch.tensor([0.6, 0.8]))
        torch.testing.assert_close(gradients[1].full_tensor(), values[1])
        assert norm is not None
        assert float(norm) == pytest.approx(math.hypot(5.0, 0.5))
    finally:
        dist.destroy_process_group()


def test_the_moving_average_follows_by_its_formula() -> None:
    stepper = make(ema=0.5)
    expected = weights(stepper)
    for step in range(3):
        stepper.take(batch(step))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights(stepper)
    assert stepper.average is not None
    torch.testing.assert_close(stepper.average.module.layer.weight, expected)
    assert int(stepper.average.module.seen) == int(stepper.task.backbone.seen) == 3
    assert not any(parameter.requires_grad for parameter in stepper.average.module.parameters())


def test_rates_follow_their_schedules() -> None:
    stepper = make(total=4, weight_decay=0.1, weight_decay_end=0.3, final_lr_fraction=0.0)
    seen = []
    for _ in range(4):
        stepper.take(batch())
        groups = stepper.optimizer.param_groups
        seen.append((groups[0]["lr"], groups[0]["weight_decay"], groups[1]["weight_decay"]))
    half = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert [rate for rate, _, _ in seen] == pytest.approx([0.1 * value for value in half])
    assert [decay for _, decay, _ in seen] == pytest.approx([0.3 - 0.2 * value for value in half])
    assert {rest for _, _, rest in seen} == {0.0}


def test_a_loss_that_is_not_finite_is_named_by_its_step() -> None:
    stepper = make(total=9)
    for step in range(1, 6):
        stepper.take({**batch(step), "y": torch.full((12, 2), math.nan if step == 3 else 0.0)})
    with pytest.raises(NonFiniteLossError, match="the loss became nan at step 3 of 9"):
        stepper.drain()


def test_weights_that_are_not_finite_are_not_kept() -> None:
    stepper = make()
    stepper.check_weights()
    with torch.no_grad():
        stepper.task.backbone.layer.weight[0, 0] = math.inf
    with pytest.raises(NonFiniteLossError, match="a weight became NaN or infinite by step 0"):
        stepper.check_weights()


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lars"])
def test_a_restored_stepper_goes_on_bit_by_bit(optimizer: str) -> None:
    options = {"optimizer": optimizer, "momentum": 0.9, "weight_decay": 0.1, "ema": 0.9}
    straight, first, second = make(total=6, **options), make(total=6, **options), make(total=6, **options)
    for seed in range(6):
        straight.take(batch(seed))
    for seed in range(3):
        first.take(batch(seed))
    second.load_state_dict(first.state_dict())
    for seed in range(3, 6):
        second.take(batch(seed))
    assert torch.equal(weights(second), weights(straight))
    assert straight.average is not None
    assert second.average is not None
    assert torch.equal(second.average.module.layer.weight, straight.average.module.layer.weight)


@pytest.mark.slow
def test_with_ddp_on_four_devices_a_resumed_run_has_the_bits_of_one_that_went_on(
    tmp_path: Path, in_two_processes: Callable[..., None]
) -> None:
    """With two devices a sum has one order; with more it depends on the place of a gradient in its bucket."""
    in_two_processes("four_resumed", tmp_path, processes=4)
    straight, resumed = torch.load(tmp_path / "both.pt", weights_only=True)
    assert [name for name, value in straight.items() if not torch.equal(value, resumed[name])] == []


def test_losses_are_handed_over_once() -> None:
    stepper = make()
    assert stepper.drain() == []
    stepper.take(batch())
    stepper.take(batch())
    assert len(stepper.drain()) == 2
    assert stepper.drain() == []


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_cpus_step_has_its_attention_in_float32(monkeypatch: pytest.MonkeyPatch, accumulate: int) -> None:
    stepper = make(accumulate=accumulate)
    tune_for_device(stepper.task, torch.device("cpu"), "32")
    seen: list[bool] = []
    torchs = F.scaled_dot_product_attention
    forward = Regression.forward

    def spied(task: Regression, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        seen.append(F.scaled_dot_product_attention is not torchs)
        return forward(task, batch, generator)

    monkeypatch.setattr(Regression, "forward", spied)
    stepper.take(batch())
    assert seen == [True] * accumulate
    assert F.scaled_dot_product_attention is torchs
