"""Trains objectives for two steps, in one process or in several gloo processes, and gives the resulting state.

A script of its own, since processes must be able to find what they run. Writes ``FOLDER/<objective>.<rank>.pt`` for each
objective, or for one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded
from selfsup.objectives.barlow_twins import RECIPE as BARLOW_TWINS
from selfsup.objectives.byol import RECIPE as BYOL
from selfsup.objectives.dcl import RECIPE as DCL
from selfsup.objectives.dino import RECIPE as DINO
from selfsup.objectives.lejepa import RECIPE as LEJEPA
from selfsup.objectives.moco import MOCOV2, MOCOV3
from selfsup.objectives.nt_xent import RECIPE as SIMCLR
from selfsup.objectives.simsiam import RECIPE as SIMSIAM
from selfsup.objectives.swav import RECIPE as SWAV
from selfsup.objectives.tico import RECIPE as TICO
from selfsup.objectives.vicreg import RECIPE as VICREG
from selfsup.objectives.vicregl import RECIPE as VICREGL
from selfsup.runtime import convert_sync_batchnorm
from selfsup.tasks import PretextTask, Views
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.tasks.parts.moving_average import MomentumConfig
from selfsup.types import Batch

BATCH, VIEWS, TOKENS, WIDTH = 32, 4, 4, 6
WIDTHS = {"hidden_dim": 10, "output_dim": 8, "bottleneck_dim": 5, "token_dim": 7, "n_prototypes": 9, "n_slices": 11}
OPTIONS = {
    "simclr": (SIMCLR, {}),
    "dcl": (DCL, {}),
    "dclw": (DCL, {"sigma": 0.5}),
    "mocov2": (MOCOV2, {"queue_size": 50, "batch_norm_splits": 1}),
    "mocov2-split": (MOCOV2, {"queue_size": 50}),
    "mocov2-two-groups": (MOCOV2, {"queue_size": 50, "batch_norm_splits": 2}),
    "mocov2-symmetric": (MOCOV2, {"queue_size": 50, "symmetric": True}),
    "mocov3": (MOCOV3, {}),
    "byol": (BYOL, {}),
    "simsiam": (SIMSIAM, {}),
    "barlow-twins": (BARLOW_TWINS, {}),
    "vicreg": (VICREG, {}),
    "barlow-twins-wide": (BARLOW_TWINS, {"output_dim": 40}),
    "vicreg-wide": (VICREG, {"output_dim": 40}),
    "vicregl-wide": (VICREGL, {"n_matches": (3, 2), "output_dim": 40, "token_dim": 40}),
    "vicregl": (VICREGL, {"n_matches": (3, 2)}),
    "swav": (SWAV, {"queue_size": 50, "queue_start": 0.0, "freeze_prototypes": 0.0}),
    "swav-without-queue": (SWAV, {"queue_size": 0, "freeze_prototypes": 0.0}),
    "dino": (DINO, {"freeze_last_layer": 0.0}),
    "tico": (TICO, {}),
    "lejepa": (LEJEPA, {}),
}


class ToyBackbone(Backbone):
    """A layer with batch norm on each token, and the mean over tokens."""

    modality = "toy"
    embed_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, self.embed_dim)
        self.norm = nn.BatchNorm1d(self.embed_dim)

    def forward(self, batch: Batch) -> Encoded:
        tokens = self.norm(self.layer(batch["x"]).mT).mT.tanh()
        return Encoded(tokens.mean(dim=1), tokens, (TOKENS,))


class GivenViews(Views):
    """Hands out the views that the batch holds, so that they are the same in any number of processes."""

    def __init__(self, n_local: int) -> None:
        super().__init__()
        self.n_global, self.n_local = 2, n_local

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        return [{"x": batch["x"][:, v], "crop": batch["crop"][:, v]} for v in range(self.n_global + self.n_local)]


def build(name: str) -> PretextTask:
    recipe, options = OPTIONS[name]
    torch.manual_seed(0)
    widths = {key: value for key, value in WIDTHS.items() if key in recipe.config.model_fields}
    objective = recipe.build(recipe.config(**{**widths, **options}))
    views = GivenViews(VIEWS - 2 if objective.uses_local_views else 0)
    return JointEmbedding(ToyBackbone(), views, objective, MomentumConfig(start=0.5, end=0.9)).double()


def batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(BATCH, VIEWS, TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    crop = torch.rand(BATCH, VIEWS, 1, 2, generator=generator, dtype=torch.float64)
    return {"x": x + 2 * x[:, :1], "crop": crop}


def average_gradients(task: PretextTask) -> None:
    """What DistributedDataParallel does."""
    gradients = [parameter.grad for parameter in task.parameters() if parameter.grad is not None]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(joined)
    parts = (joined / torch.distributed.get_world_size()).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def train(name: str, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """State after two steps, by plain SGD so that the size of the gradients counts."""
    task = build(name)
    if world > 1:
        convert_sync_batchnorm(task)
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=0.5)
    # What all processes share is drawn with the first one's, so that one process draws it, too.
    generator = torch.Generator().manual_seed(rank)
    rows = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    for step in range(2):
        optimizer.zero_grad()
        task({key: value[rows] for key, value in batch(step).items()}, generator).loss.backward()
        if world > 1:
            average_gradients(task)
        task.after_backward((step + 1) / 4)
        optimizer.step()
        task.after_step((step + 1) / 4)
    return {key: value.clone() for key, value in task.state_dict().items()}


def process(rank: int, folder: str, world: int = 2, only: str = "") -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    for name in [only] if only else OPTIONS:
        state = train(name, rank, world)
        torch.save(state, Path(folder) / f"{name}.{rank}.pt")
    torch.distributed.destroy_process_group()
