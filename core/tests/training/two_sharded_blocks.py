"""Trains networks whose blocks are sharded separately (FSDP2) or computed again, in one process or in two.

A script of its own, since processes must be able to find what they run. Rank 0 writes
``FOLDER/<strategy>-<task>-<recompute>.pt``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded
from selfsup.objectives import DINO, SimCLR
from selfsup.runtime import evaluation_mode
from selfsup.runtime.distributed import convert_sync_batchnorm
from selfsup.tasks import PretextTask, Views
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.tasks.latent.data2vec import Data2Vec, Data2VecConfig
from selfsup.tasks.masked.masked_modeling import MAE, MAEConfig
from selfsup.tasks.parts.moving_average import MomentumConfig
from selfsup.testing.toy.sequences.backbones import FrameTransformer, SequenceTransformerConfig
from selfsup.training.device.blocks import repeated_blocks
from selfsup.training.device.devices import resolve_devices
from selfsup.training.device.fabric import Fabric
from selfsup.training.device.recompute import recomputing
from selfsup.training.loop import sharding
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig, RunConfig
from selfsup.types import Batch

ROWS, N, STEPS = 8, 8, 10
TASKS = ("dino", "data2vec", "mae", "simclr", "simclr-in-chunks")
SHARDED = [("fsdp", task, False) for task in TASKS]
CASES = [*SHARDED, *((strategy, task, True) for strategy in ("fsdp", "ddp") for task in ("dino", "mae", "batch-norm"))]
INFO = {"channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3, "kind": "frames"}


class Cropped(Views):
    """Views that nothing is drawn for, so that it does not matter which process makes them."""

    def __init__(self, n_local: int) -> None:
        super().__init__()
        self.n_global, self.n_local = 2, n_local

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        x = batch["sequence"]
        views = [x, 0.8 * x + 0.1, x[:, : N // 2], x[:, N // 2 :]]
        return [{"sequence": view} for view in views[: 2 + self.n_local]]


class NormedBlock(nn.Module):
    """Batch norm within a block, whose statistics are of all devices."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + torch.tanh(self.norm(self.linear(x)))
        return out


class Normed(Backbone):
    modality = "sequence"
    embed_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layers = nn.Linear(3, 16), nn.Sequential(*(NormedBlock() for _ in range(3)))

    def forward(self, batch: Batch) -> Encoded:
        return Encoded(self.layers(self.first(batch["sequence"].mean(dim=1))))

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)


def build(task: str) -> PretextTask:
    torch.manual_seed(0)
    if task == "batch-norm":
        return JointEmbedding(Normed(), Cropped(0), SimCLR(SimCLR.Config(hidden_dim=16, output_dim=8)))
    backbone = FrameTransformer(SequenceTransformerConfig(dim=16, depth=3), INFO)
    match task:
        case "dino":
            config = DINO.Config(hidden_dim=16, output_dim=12, bottleneck_dim=8, freeze_last_layer=0)
            return JointEmbedding(backbone, Cropped(2), DINO(config), MomentumConfig(start=0.9))
        case "data2vec":
            return Data2Vec(Data2VecConfig(masking="random"), backbone)
        case "mae":
            return MAE(MAEConfig(decoder_depth=2, decoder_dim=16), backbone)
    contrast = JointEmbedding(backbone, Cropped(0), SimCLR(SimCLR.Config(hidden_dim=16, output_dim=8)))
    assert isinstance(contrast.projector, nn.Sequential)
    if task == "simclr-in-chunks":  # batch norm sees chunk by chunk
        contrast.projector = nn.Sequential(*(part for part in contrast.projector if not isinstance(part, nn.BatchNorm1d)))
    return contrast


class OfAllRows:
    """Draws for the rows of all processes, and keeps those of this one."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world, self.rand = rank, world, torch.rand

    def __call__(self, *size: Any, **options: Any) -> Tensor:
        shape = list(size[0]) if len(size) == 1 and not isinstance(size[0], int) else list(size)
        whole = self.rand([shape[0] * self.world, *shape[1:]], **options)
        return whole.chunk(self.world)[self.rank]


def train(fabric: Fabric, name: str, recompute: bool) -> dict[str, Any]:
    """Losses, the gradient of the first step, and weights."""
    task = build(name).double()  # in float32 ten steps make rounding as large as a thousandth
    if fabric.world_size > 1:
        convert_sync_batchnorm(task)
    accumulate = 2 if name.endswith("in-chunks") else 1
    options: dict[str, Any] = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "schedule": "constant"}
    config = OptimizationConfig(**options, accumulate=accumulate, clip=1.0)
    generator = torch.Generator().manual_seed(0)
    stepper = Stepper(fabric, task, config, total_steps=STEPS, warmup_steps=0, generator=generator)
    seen = Seen(task)
    share = slice(fabric.global_rank * ROWS // fabric.world_size, (fabric.global_rank + 1) * ROWS // fabric.world_size)
    gradients: dict[str, Tensor] = {}

    def keep(progress: float) -> None:
        found = {n: sharding.whole(p.grad).clone() for n, p in task.named_parameters() if p.grad is not None}
        gradients.update(found if not gradients else {})
        type(task).after_backward(task, progress)

    task.after_backward = keep  # type: ignore[method-assign]
    torch.rand = OfAllRows(fabric.global_rank, fabric.world_size)
    with recomputing(task, recompute):
        for step in range(STEPS):
            x = torch.randn(ROWS, N, 3, generator=torch.Generator().manual_seed(step)).double()
            if step == 5:
                seen.look(stepper)
            stepper.take({"sequence": x[share]})
    torch.rand = torch.rand.rand
    weights = {name: sharding.whole(p.detach()).clone() for name, p in task.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in task.named_buffers()}
    return {"loss": stepper.drain(), "gradients": gradients, "weights": {**weights, **buffers}, **seen.report()}


class Seen:
    """What blocks hold while one of them computes."""

    def __init__(self, task: PretextTask) -> None:
        self.task, self.blocks = task, list(repeated_blocks(task))
        self.whole_at_once, self.embedded = 0, torch.zeros(0)
        self.sharded = sum(sharding.is_sharded(block) for block in self.blocks)
        self.handles = [block.register_forward_hook(self._count) for block in self.blocks]

    def _count(self, *_: Any) -> None:
        """Blocks whose weights are whole in the middle of a forward pass."""
        whole = sum(not hasattr(next(block.parameters()), "to_local") for block in self.blocks)
        self.whole_at_once = max(self.whole_at_once, whole)

    def look(self, stepper: Stepper) -> None:
        """Embed on the first process alone, several times, as a run's checks do."""
        most = self.whole_at_once
        with sharding.gathered(self.task):
            if stepper.fabric.global_rank == 0:
                x, backbone = torch.ones(2, N, 3).double(), self.task.encoder_backbone()
                with evaluation_mode(backbone):
                    self.embedded = torch.stack([backbone({"sequence": x}).pooled for _ in range(2)])
        self.whole_at_once = most

    def report(self) -> dict[str, Any]:
        return {
            "blocks": len(self.blocks), "sharded": self.sharded, "whole_at_once": self.whole_at_once, "embedded": self.embedded,
        }  # fmt: skip


def process(rank: int, folder: str) -> None:
    """Train all cases as one of two processes that torchrun would have started."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    options: dict[str, Any] = {"accelerator": "cpu", "devices": 2, "precision": "32"}
    for strategy, task, recompute in CASES:
        config = RunConfig(task="toy", data="toy", backbone="toy", strategy=strategy, **options)
        fabric = resolve_devices(config).connect()
        found = train(fabric, task, recompute)
        if fabric.global_rank == 0:
            torch.save(found, Path(folder) / f"{strategy}-{task}-{recompute}.pt")
        fabric.barrier()
