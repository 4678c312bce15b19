"""A batch in chunks needs hardly more memory than one of its chunks."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from selfsup.backbones import Backbone, Encoded
from selfsup.objectives import DINO, MoCoV2, VICRegL
from selfsup.objectives.base import JointEmbeddingObjective
from selfsup.tasks import Views
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.training.loop.gradient_cache import GradientCache
from selfsup.training.loop.step_mean import StepMean
from selfsup.training.loop.stepper import split_batch
from selfsup.types import Batch

LiveBytes = runpy.run_path(str(Path(__file__).with_name("live_bytes.py")))["LiveBytes"]
ROWS, CHUNKS, STEPS = 4, 16, 1024
WIDTHS: dict[str, Any] = {"hidden_dim": 32, "output_dim": 16}
OBJECTIVES: dict[str, Callable[[], JointEmbeddingObjective]] = {
    "queue and target": lambda: MoCoV2(MoCoV2.Config(queue_size=64, **WIDTHS)),
    "local views": lambda: DINO(DINO.Config(hidden_dim=32, output_dim=64, bottleneck_dim=16)),
    "tokens": lambda: VICRegL(VICRegL.Config(token_dim=8, n_matches=(4, 2), **WIDTHS)),
}


class Series(Backbone):
    """A few convolutions: nearly all memory is activations."""

    modality = "sequence"
    embed_dim = 8

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.GELU()) for _ in range(4)]
        self.layers = nn.Sequential(*layers, nn.AvgPool1d(64))

    def forward(self, batch: Batch) -> Encoded:
        tokens = self.layers(batch["x"]).mT
        return Encoded(tokens.mean(dim=1), tokens, (tokens.shape[1],))


class Noisy(Views):
    def __init__(self, n_local: int) -> None:
        super().__init__()
        self.n_global, self.n_local = 2, n_local

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        noise = [0.1 * torch.randn(batch["x"].shape, generator=generator) for _ in range(2 + self.n_local)]
        views = [{"x": batch["x"] + each} for each in noise]
        return [*views[:2], *({"x": view["x"][:, :, : STEPS // 2]} for view in views[2:])]


def peak(objective: JointEmbeddingObjective, rows: int, chunks: int) -> int:
    """Most bytes during the forward and backward passes of a step, besides the weights, their gradients and the batch."""
    torch.manual_seed(0)
    task = JointEmbedding(Series(), Noisy(2 if objective.uses_local_views else 0), objective)
    fabric, generator = Fabric(accelerator="cpu", devices=1), torch.Generator()
    module, parameters = fabric.setup_module(task), list(task.parameters())
    batch = {"x": torch.randn(rows, 8, STEPS)}
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with LiveBytes([*batch.values(), *parameters, *(parameter.grad for parameter in parameters)]) as memory:
        if chunks == 1:
            StepMean(fabric, module, parameters).backward(lambda each: module(each, generator), [batch])
        else:
            GradientCache(fabric, module, parameters, generator).backward(list(split_batch(batch, chunks)))
    return int(memory.peak)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_sixteen_chunks_need_the_memory_of_one(name: str) -> None:
    make = OBJECTIVES[name]
    chunk, whole = peak(make(), ROWS, 1), peak(make(), CHUNKS * ROWS, 1)
    cached = peak(make(), CHUNKS * ROWS, CHUNKS)
    assert whole > 8 * chunk
    assert cached < 1.2 * chunk
