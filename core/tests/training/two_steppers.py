"""Trains a task whose means are over unequal numbers of tokens, in one process or in two, with the trainer's own stepper.

A script of its own, which the test starts twice with the environment of torchrun.
Usage: ``python two_steppers.py FOLDER``; rank 0 writes ``FOLDER/<strategy>-<accumulate>-<terms>.pt``: loss and weights.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded
from selfsup.tasks import PretextTask, StepOutput, Term
from selfsup.tasks.masking import mean_term
from selfsup.training import sharding
from selfsup.training.config import OptimizationConfig, RunConfig
from selfsup.training.devices import make_fabric
from selfsup.training.stepper import Stepper
from selfsup.types import Batch

ROWS, STEPS = 24, 2
CASES = list(itertools.product(("ddp", "fsdp"), (1, 3), (False, True)))


class Layers(Backbone):
    modality = "toy"
    embed_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, batch: Batch) -> Encoded:
        return Encoded(self.layers(batch["x"]))


class Uneven(PretextTask):
    """The mean over real tokens, with ``terms`` plus one over hidden tokens and one over samples."""

    def __init__(self, terms: bool) -> None:
        super().__init__()
        self.backbone = Layers()
        self.terms = terms

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        error = (self.backbone(batch).pooled - batch["y"]).square()
        real = mean_term(error, batch["real"])
        if not self.terms:
            return StepOutput.of(real)
        return StepOutput.of(real, mean_term(error.sqrt(), batch["hidden"]).scaled(3.0), Term(error.sum(dim=1).mean()))


def batch(step: int) -> Batch:
    """The first rows have most of the real tokens, and the last ones of the hidden ones."""
    g = torch.Generator().manual_seed(step)
    fewer = torch.linspace(1, 0, ROWS).unsqueeze(1)
    chance = torch.rand(2, ROWS, 4, generator=g)
    return {
        "x": torch.randn(ROWS, 3, generator=g), "y": torch.randn(ROWS, 4, generator=g),
        "real": (chance[0] < fewer).float(), "hidden": (chance[1] < 1 - fewer).float(),
    }  # fmt: skip


def train(fabric: Fabric, accumulate: int, terms: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    task = Uneven(terms)
    config = OptimizationConfig(
        optimizer="sgd", lr=0.5, momentum=0.0, weight_decay=0.0, schedule="constant", accumulate=accumulate, clip=1.0
    )
    stepper = Stepper(fabric, task, config, total_steps=STEPS, warmup_steps=0, generator=torch.Generator())
    rows = ROWS // fabric.world_size
    share = slice(fabric.global_rank * rows, (fabric.global_rank + 1) * rows)
    for step in range(STEPS):
        stepper.take({key: value[share] for key, value in batch(step).items()})
    weights: dict[str, Tensor] = {name: sharding.whole(p.detach()).clone() for name, p in task.named_parameters()}
    return {"loss": stepper.drain(), "weights": weights}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for strategy, accumulate, terms in CASES:
        fabric = make_fabric(
            RunConfig(task="toy", data="toy", backbone="toy", accelerator="cpu", devices=2, strategy=strategy, precision="32")
        )
        found = train(fabric, accumulate, terms)
        if fabric.global_rank == 0:
            torch.save(found, folder / f"{strategy}-{accumulate}-{terms}.pt")
        fabric.barrier()


if __name__ == "__main__":
    assert "RANK" in os.environ
    main(Path(sys.argv[1]))
