"""Trains tasks in one process or in two, with the trainer's own stepper: means over unequal numbers of tokens, and contrasts.

A script of its own, since processes must be able to find what they run. Rank 0 writes
``FOLDER/<strategy>-<accumulate>-<task>.pt``: loss and weights, and ``FOLDER/finetuned.pt``: weights of a fine-tuning.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from selfsup.artifacts import Encoder
from selfsup.backbones import Backbone, Encoded
from selfsup.data import load_source, prepare
from selfsup.evaluation import Split
from selfsup.evaluation.evaluators.finetune import FinetuneConfig, finetune_encoder
from selfsup.objectives import MoCoV2, SwAV
from selfsup.registry import registry
from selfsup.tasks import PretextTask, StepOutput, Term, Views
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.tasks.parts.moving_average import MomentumConfig
from selfsup.tasks.parts.random_masking import mean_term
from selfsup.testing.toy.sequences.installed import installed
from selfsup.training.device.devices import resolve_devices
from selfsup.training.loop import sharding
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig, RunConfig
from selfsup.types import Batch

ROWS, STEPS = 24, 2
TASKS = ("mean", "means", "swav", "mocov2")
CASES = list(itertools.product(("ddp", "fsdp"), (1, 3), TASKS))


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


class Scaled(Views):
    """Two views that nothing is drawn for, so that it does not matter which process makes them."""

    n_global, n_local = 2, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        return [{"x": batch["x"]}, {"x": 0.8 * batch["x"] + 0.1}]


def build(task: str) -> PretextTask:
    """Objectives that gather and share statistics; SwAV's has parameters of its own, MoCo's a target and a queue."""
    torch.manual_seed(0)
    if task == "swav":
        config = SwAV.Config(n_prototypes=6, queue_size=0, freeze_prototypes=0, hidden_dim=8, output_dim=4)
        return without_norm(JointEmbedding(Layers(), Scaled(), SwAV(config)))
    if task == "mocov2":
        moco = MoCoV2.Config(queue_size=30, hidden_dim=8, output_dim=4, batch_norm_splits=1)
        return JointEmbedding(Layers(), Scaled(), MoCoV2(moco), MomentumConfig(start=0.9))
    return Uneven(task == "means")


def without_norm(task: JointEmbedding) -> JointEmbedding:
    """Batch norm sees chunk by chunk, and is compared elsewhere."""
    assert isinstance(task.projector, nn.Sequential)
    task.projector = nn.Sequential(*(part for part in task.projector if not isinstance(part, nn.BatchNorm1d)))
    return task


def batch(step: int) -> Batch:
    """The first rows have most of the real tokens, and the last ones of the hidden ones."""
    g = torch.Generator().manual_seed(step)
    fewer = torch.linspace(1, 0, ROWS).unsqueeze(1)
    chance = torch.rand(2, ROWS, 4, generator=g)
    return {
        "x": torch.randn(ROWS, 3, generator=g), "y": torch.randn(ROWS, 4, generator=g),
        "real": (chance[0] < fewer).float(), "hidden": (chance[1] < 1 - fewer).float(),
    }  # fmt: skip


def train(fabric: Fabric, accumulate: int, name: str) -> dict[str, Any]:
    task = build(name)
    config = OptimizationConfig(
        optimizer="sgd", lr=0.5, momentum=0.0, weight_decay=0.0, schedule="constant", accumulate=accumulate, clip=1.0
    )
    stepper = Stepper(fabric, task, config, total_steps=STEPS, warmup_steps=0, generator=torch.Generator())
    rows = ROWS // fabric.world_size
    share = slice(fabric.global_rank * rows, (fabric.global_rank + 1) * rows)
    for step in range(STEPS):
        stepper.take({key: value[share] for key, value in batch(step).items()})
    weights: dict[str, Tensor] = {name: sharding.whole(p.detach()).clone() for name, p in task.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in task.named_buffers()}
    return {"loss": stepper.drain(), "weights": {**weights, **buffers}}


def finetune(folder: Path) -> dict[str, Any]:
    """The weights of an encoder with batch norm that is fine-tuned on rows that count by their class, and rows of each step."""
    rows_taken: list[int] = []
    take = Stepper.take

    def counted(stepper: Stepper, batch: Batch) -> None:
        rows_taken.append(len(batch["label"]))
        take(stepper, batch)

    Stepper.take = counted  # type: ignore[method-assign]
    os.environ["SELFSUP_CACHE"] = str(folder / "cache")
    with installed(folder / f"site-{os.environ.get('RANK', 'alone')}"):
        modality = registry().get("modality", "sequence")
        rows = load_source("toy-frames", modality=modality, split="train")
        kind = registry().processor_class("sequence")
        processor = kind(kind.Config()).fit(rows)
        torch.manual_seed(0)
        backbone, options = registry().build_backbone("sequence/conv", {}, processor.info())
        backbone.vocabulary_head = nn.Linear(2, 2)  # as a language model keeps it; a classifier does not use it
        backbone.spare_parts = lambda: {"vocabulary_head": backbone.vocabulary_head}
        encoder = Encoder(
            processor, backbone, backbone_id="sequence/conv", backbone_options=options, task="sequence/mae"
        ).eval()
        train = Split(prepare(rows, processor), rows.labels(), rows.class_names, rows.fingerprint)
        config = FinetuneConfig(epochs=1, min_steps=0, batch_size=64, augment=False, precision="32", class_weight="balanced")
        weights = finetune_encoder(encoder, train, config, seed=0).state_dict()
    Stepper.take = take  # type: ignore[method-assign]
    return {"weights": weights, "rows": rows_taken}


def process(rank: int, folder: str) -> None:
    """Train all cases as one of two processes that torchrun would have started."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    tuned = finetune(Path(folder))
    if rank == 0:
        torch.save(tuned, Path(folder) / "finetuned.pt")
    for strategy, accumulate, task in CASES:
        fabric = resolve_devices(
            RunConfig(task="toy", data="toy", backbone="toy", accelerator="cpu", devices=2, strategy=strategy, precision="32")
        ).connect()
        found = train(fabric, accumulate, task)
        if fabric.global_rank == 0:
            torch.save(found, Path(folder) / f"{strategy}-{accumulate}-{task}.pt")
        fabric.barrier()
