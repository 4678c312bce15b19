"""Trains a network on four processes with DDP, and again with a new start in the middle; rank 0 writes both into ``FOLDER``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfsup.backbones import Backbone, Encoded
from selfsup.tasks import PretextTask, StepOutput
from selfsup.training.device.devices import Devices
from selfsup.training.device.fabric import Fabric
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig
from selfsup.types import Batch

BEFORE, AFTER = 2, 2


class Crossed(Backbone):
    """Uses its layers in another order than it holds them, so gradients come in another order than that of the weights."""

    modality = "toy"
    embed_dim = 19

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(19, 19) for _ in range(5))

    def forward(self, batch: Batch) -> Encoded:
        x = batch["x"]
        for place in (3, 0, 4, 2, 1):
            x = torch.tanh(self.layers[place](x))
        return Encoded(x)


class Task(PretextTask):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Crossed()

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        return StepOutput((self.backbone(batch).pooled - 1).square().mean(), {})


def stepper(fabric: Fabric) -> Stepper:
    torch.manual_seed(0)
    config = OptimizationConfig(optimizer="adamw", lr=0.1, schedule="constant")
    return Stepper(fabric, Task(), config, total_steps=BEFORE + AFTER, warmup_steps=0, generator=torch.Generator())


def train(stepper: Stepper, steps: int) -> None:
    for _ in range(steps):
        x = torch.randn(4, 3, 19, generator=torch.Generator().manual_seed(stepper.step))
        stepper.take({"x": x[stepper.fabric.global_rank]})


def process(rank: int, place: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    fabric = Devices("cpu", "32", 4, 1, "ddp").connect()
    straight = stepper(fabric)
    train(straight, BEFORE)
    state: dict[str, Any] = straight.state_dict()
    held = Path(place) / f"{rank}.pt"
    torch.save(state, held)
    train(straight, AFTER)
    resumed = stepper(fabric)
    resumed.load_state_dict(torch.load(held, weights_only=True))
    train(resumed, AFTER)
    if rank == 0:
        torch.save([each.task.state_dict() for each in (straight, resumed)], Path(place) / "both.pt")
    fabric.barrier()
