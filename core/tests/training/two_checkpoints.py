"""Trains a task with weights that are spread over two processes, saves it, and goes on from what it saved.

Rank 0 writes ``FOLDER/last.pt`` with its parts, ``FOLDER/whole.pt`` as earlier
versions wrote it, and the weights that each way of going on comes to (``FOLDER/<way>.pt``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded
from selfsup.tasks import PretextTask, StepOutput
from selfsup.training.device.devices import resolve_devices
from selfsup.training.loop import sharding
from selfsup.training.loop.sharded_checkpoint import write_parts
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig, RunConfig
from selfsup.types import Batch

ROWS, BEFORE, AFTER = 8, 3, 2


class Uneven(Backbone):
    """Its rows cannot be divided by two, and one weight has a single row: a process has nothing of it."""

    modality = "toy"
    embed_dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 1))

    def forward(self, batch: Batch) -> Encoded:
        return Encoded(self.layers(batch["x"]))


class Task(PretextTask):
    """A weight with two names, one that never has a gradient, and a buffer that changes."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Uneven()
        self.again = nn.Linear(3, 5)
        self.again.weight = self.backbone.layers[0].weight  # type: ignore[assignment,union-attr]
        self.unused = nn.Parameter(torch.ones(4))
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        self.seen += batch["x"].shape[0]
        return StepOutput((self.backbone(batch).pooled - 1).square().mean() + self.again(batch["x"]).square().mean(), {})


def fabric(strategy: str) -> Fabric:
    config = RunConfig.model_validate(
        {"task": "toy", "data": "toy", "accelerator": "cpu", "devices": 2, "strategy": strategy, "precision": "32"}
    )
    return resolve_devices(config).connect()


def stepper(fabric: Fabric, seed: int) -> Stepper:
    torch.manual_seed(seed)
    config = OptimizationConfig(optimizer="adamw", lr=0.1, schedule="constant", ema=0.9)
    return Stepper(fabric, Task(), config, total_steps=BEFORE + AFTER, warmup_steps=0, generator=torch.Generator())


def train(stepper: Stepper, steps: int) -> dict[str, Any]:
    """Give all weights, buffers and the loss of the last step."""
    rank, world = stepper.fabric.global_rank, stepper.fabric.world_size
    share = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    for _ in range(steps):
        x = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(stepper.step))
        stepper.take({"x": x[share]})
    losses = stepper.drain()
    assert stepper.average is not None
    state = {**stepper.task.state_dict(), **{f"average.{k}": v for k, v in stepper.average.module.state_dict().items()}}
    return {"loss": losses[-1:], **{name: sharding.whole(tensor).clone() for name, tensor in state.items()}}


def whole(stepper: Stepper) -> dict[str, Any]:
    """What earlier versions wrote of weights that are spread over devices."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return {
        **stepper.weights(), "scaler": None,
        "optimizer": get_optimizer_state_dict(stepper.task, stepper._plain, options=options),
    }  # fmt: skip


def process(rank: int, place: str) -> None:
    """Do so as one of two processes that torchrun would have started."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    folder = Path(place)
    spread = fabric("fsdp")
    first, main = stepper(spread, 0), spread.global_rank == 0
    train(first, BEFORE)
    state = first.state_dict()
    saved = {"parts": write_parts(folder, first.step, state.pop("spread")), "stepper": state}
    earlier = whole(first)
    if main:
        torch.save(saved, folder / "last.pt")
        torch.save(earlier, folder / "whole.pt")
    spread.barrier()
    found = {"straight": train(first, AFTER)}
    saved, earlier = (torch.load(folder / name, weights_only=True) for name in ("last.pt", "whole.pt"))
    second = stepper(spread, 1)
    second.load_state_dict(saved["stepper"], folder / saved["parts"])
    found["parts"] = train(second, AFTER)
    third = stepper(spread, 2)
    third.load_state_dict(earlier)
    found["whole"] = train(third, AFTER)
    # What one process wrote, counted as an optimizer counts: found beside this by the test.
    fourth = stepper(spread, 3)
    fourth.load_state_dict(torch.load(folder / "one.pt", weights_only=True))
    found["one"] = train(fourth, AFTER)
    if main:
        for name, content in found.items():
            torch.save(content, folder / f"{name}-went-on.pt")
    spread.barrier()
