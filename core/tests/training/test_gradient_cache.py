"""Losses that compare samples, chunk by chunk: the gradient of the whole batch, and everything moves once a step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded
from selfsup.objectives.base import JointEmbeddingObjective
from selfsup.objectives.moco import MoCoV2
from selfsup.objectives.parts.embeddings import Embeddings
from selfsup.objectives.swav import SwAV
from selfsup.objectives.vicreg import VICReg
from selfsup.tasks import ComparesEmbeddings, StepOutput, Views
from selfsup.tasks.augmented import augment_task
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.tasks.parts.moving_average import MomentumConfig
from selfsup.testing import TaskCase, task_cases
from selfsup.testing.toy.sequences.installed import installed
from selfsup.training.loop.gradient_cache import GradientCache
from selfsup.training.loop.stepper import Stepper, split_batch
from selfsup.training.run.config import OptimizationConfig
from selfsup.types import Batch

OBJECTIVES = ("vicreg", "vicregl", "byol", "mocov2", "swav", "dino")
"""With norms alone, tokens, a target, a queue, prototypes and a centre; the kit compares chunks for every other one."""
OTHERS = ("cpc", "wav2vec2")
"""Tasks of other families that compare samples."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory):
    with installed(tmp_path_factory.mktemp("toy")):
        yield {case.spec.id.split("/")[1]: case for case in task_cases("sequence")}


@pytest.mark.parametrize("name", [*OBJECTIVES, *OTHERS])
def test_with_batch_norm_it_is_the_gradient_of_one_graph_over_all_chunks(name: str, cases: dict[str, TaskCase]) -> None:
    """Norms, running statistics, targets, queues and random state are those of one pass over the chunks."""
    task, other = cases[name].build().double(), cases[name].build().double()
    assert isinstance(task, ComparesEmbeddings)
    batch = cases[name].batch()
    drawn, again = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    loss, gradients = cached(task, batch, 3, drawn)
    expected, expected_gradients = one_graph(other, batch, 3, again)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    compare(gradients, expected_gradients)
    for (key, ours), theirs in zip(task.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12, msg=key)
    assert torch.equal(drawn.get_state(), again.get_state())


def cached(
    task: Any, batch: Batch, chunks: int, generator: torch.Generator, fabric: Fabric | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of a gradient cache."""
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    module = fabric.setup_module(task, move_to_device=False)
    cache = GradientCache(fabric, module, list(task.parameters()), generator)
    _, loss = cache.backward(list(split_batch(batch, chunks)))
    return loss, gradients_of(task)


def one_graph(task: Any, batch: Batch, chunks: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The same by one backward pass through all chunks."""
    embedded = [task.embed(chunk, generator) for chunk in split_batch(batch, chunks)]
    loss = task.compare(type(embedded[0]).join(embedded)).loss
    loss.backward()
    return loss.detach(), gradients_of(task)


def gradients_of(task: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in task.named_parameters() if parameter.grad is not None}


def compare(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    assert ours.keys() == theirs.keys()
    assert ours
    for name, value in ours.items():
        scale = max(float(theirs[name].double().norm()), 1e-3)
        assert float((value - theirs[name]).double().norm()) <= tolerance * scale, name


class Restless(Backbone):
    """Draws from torch's global state (dropout) and is changed by each pass through it (a buffer that it reads)."""

    modality = "sequence"
    embed_dim = 8
    scale: Tensor

    def __init__(self, dropout: float = 0.5, norm: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Dropout(dropout), nn.Tanh(), nn.Linear(16, 8))
        self.norm: nn.Module = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.register_buffer("scale", torch.ones(()))
        self.passes = 0

    def forward(self, batch: Batch) -> Encoded:
        self.passes += 1
        self.scale = self.scale * 0.9 + 0.1 * batch["x"].std().to(self.scale.dtype)  # a new tensor, as some libraries do
        return Encoded(self.norm(self.layers(batch["x"])) * self.scale)


class Shifted(Views):
    n_global, n_local = 2, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        return [{"x": batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator)} for _ in range(2)]


def restless(objective: JointEmbeddingObjective | None = None, **options: Any) -> JointEmbedding:
    torch.manual_seed(0)
    objective = objective or VICReg(VICReg.Config(hidden_dim=16, output_dim=12))
    return JointEmbedding(Restless(**options), Shifted(), objective, MomentumConfig(start=0.9)).train()


def rows(n: int = 12) -> Batch:
    return {"x": torch.randn(n, 6, generator=torch.Generator().manual_seed(1))}


def moco() -> MoCoV2:
    return MoCoV2(MoCoV2.Config(queue_size=64, hidden_dim=16, output_dim=8, batch_norm_splits=2))


def swav() -> SwAV:
    return SwAV(SwAV.Config(queue_size=24, queue_start=0, n_prototypes=8, hidden_dim=16, output_dim=8, freeze_prototypes=0))


@pytest.mark.parametrize("objective", [None, moco, swav])
@pytest.mark.parametrize("norm", [False, True])
def test_dropout_and_buffers_are_replayed(norm: bool, objective: Callable[[], JointEmbeddingObjective] | None) -> None:
    task = restless(objective() if objective else None, norm=norm).double()
    other = copy.deepcopy(task)
    batch = {"x": rows()["x"].double()}
    drawn, again = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    torch.manual_seed(5)
    loss, gradients = cached(task, batch, 3, drawn)
    global_state = torch.get_rng_state()
    torch.manual_seed(5)
    expected, expected_gradients = one_graph(other, batch, 3, again)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    compare(gradients, expected_gradients)
    compare(dict(task.named_buffers()), dict(other.named_buffers()))
    assert torch.equal(torch.get_rng_state(), global_state)
    assert torch.equal(drawn.get_state(), again.get_state())


def test_a_step_moves_the_target_the_queue_and_the_statistics_once() -> None:
    task = restless(moco(), norm=True)
    online, target = task.backbone, task.momentum.module.backbone
    assert isinstance(online, Restless)
    before = target.layers[0].weight.clone()
    config = OptimizationConfig(optimizer="sgd", lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant", accumulate=4)
    fabric = Fabric(accelerator="cpu", devices=1)
    stepper = Stepper(fabric, task, config, total_steps=10, warmup_steps=0, generator=torch.Generator())
    stepper.take(rows())
    assert int(task.objective.queue.position) == 12
    assert (online.passes, target.passes) == (8, 4)
    # As four chunks move them, and not eight.
    assert int(online.norm.num_batches_tracked) == int(target.norm.num_batches_tracked) == 4
    momentum = task.momentum.momentum(0.1)
    torch.testing.assert_close(target.layers[0].weight, momentum * before + (1 - momentum) * online.layers[0].weight)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_in_half_precision_the_gradient_is_that_of_one_graph(precision: Any) -> None:
    task = restless(swav())
    other = copy.deepcopy(task)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if precision == "16-mixed" else None
    plugin = MixedPrecision(precision, "cpu", scaler)
    torch.manual_seed(5)
    loss, gradients = cached(
        task, rows(), 3, torch.Generator().manual_seed(3), Fabric(accelerator="cpu", devices=1, plugins=plugin)
    )
    torch.manual_seed(5)
    with plugin.forward_context():
        expected, expected_gradients = one_graph(other, plugin.convert_input(rows()), 3, torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss, expected)
    scale = 1024 if scaler else 1
    ours, theirs = (torch.cat([each.flatten() for each in of.values()]) for of in (gradients, expected_gradients))
    # Rounded gradients of a weight are added up in half precision in one graph.
    assert float((ours / scale - theirs).norm() / theirs.norm()) < 0.01


@dataclass(frozen=True)
class Found(Embeddings):
    trained = ("pooled",)
    pooled: Tensor
    length: Tensor


class Ratio(ComparesEmbeddings[Found]):
    """Someone's task of its own, with neither views nor an objective of the core, and a parameter in what compares."""

    couples_samples = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Plain()
        self.weight = nn.Parameter(torch.ones(8))

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> Found:
        return Found(self.backbone(batch).pooled, batch["x"].norm(dim=1))

    def compare(self, embeddings: Found) -> StepOutput:
        spread = (embeddings.pooled * self.weight).var(dim=0).sum()
        return StepOutput(spread / embeddings.length.mean(), {"spread": spread.detach()})


class Plain(Backbone):
    modality = "sequence"
    embed_dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 8)

    def forward(self, batch: Batch) -> Encoded:
        return Encoded(self.layer(batch["x"]).tanh())


@pytest.mark.parametrize("augmented", [False, True])
def test_a_task_of_ones_own_accumulates_exactly(augmented: bool) -> None:
    def make() -> Any:
        return augment_task(Ratio(), OneView()).double() if augmented else Ratio().double()

    task, other, batch = make(), make(), {"x": rows()["x"].double()}
    loss, gradients = cached(task, batch, 5, torch.Generator())
    whole = other(batch, None).loss
    whole.backward()
    torch.testing.assert_close(loss, whole.detach(), rtol=1e-12, atol=1e-12)
    compare(gradients, gradients_of(other))


@pytest.mark.parametrize("options", [{"clip": 0.01}, {"ema": 0.9}, {"optimizer": "lars", "weight_decay": 0.1}])
def test_steps_are_those_of_the_whole_batch(options: dict[str, Any]) -> None:
    whole, cut = stepper_of(Ratio().double(), 1, **options), stepper_of(Ratio().double(), 4, **options)
    batches = [
        {"x": torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))} for seed in range(3)
    ]
    for batch in batches:
        whole.take(batch)
        cut.take(batch)
    assert cut.drain() == pytest.approx(whole.drain(), rel=1e-9)
    torch.testing.assert_close(cut.metrics, whole.metrics, rtol=1e-9, atol=0)
    for ours, theirs in zip(cut.task.parameters(), whole.task.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    if cut.average is not None and whole.average is not None:
        torch.testing.assert_close(cut.average.module.layer.weight, whole.average.module.layer.weight, rtol=1e-9, atol=1e-12)


def stepper_of(task: Any, chunks: int, **options: Any) -> Stepper:
    config = OptimizationConfig(**{"optimizer": "sgd", "lr": 0.1, "accumulate": chunks, **options})
    fabric = Fabric(accelerator="cpu", devices=1)
    return Stepper(fabric, task, config, total_steps=4, warmup_steps=0, generator=torch.Generator())


class Dropped(Plain):
    def forward(self, batch: Batch) -> Encoded:
        return Encoded(nn.functional.dropout(super().forward(batch).pooled, 0.5, self.training))


@pytest.mark.slow
def test_a_compiled_network_draws_the_same_in_both_passes() -> None:
    task, other = Ratio(), Ratio()
    task.backbone, other.backbone = Dropped(), Dropped()
    other.load_state_dict(task.state_dict())
    task.backbone.compile(backend="aot_eager")
    torch.manual_seed(5)
    loss, gradients = cached(task, rows(), 3, torch.Generator())
    torch.manual_seed(5)
    expected, expected_gradients = one_graph(other, rows(), 3, torch.Generator())
    torch.testing.assert_close(loss, expected)
    compare(gradients, expected_gradients, 1e-5)


class OneView(Views):
    n_global, n_local = 1, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        return [{"x": batch["x"].flip(1)}]
