"""Each joint-embedding objective for some steps in two gloo processes that lack parts of unequal numbers of rows, or in one.

A script of its own, since processes must be able to find what they run. Writes ``FOLDER/<name>.<rank>.pt`` for each
objective.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.objectives import pairwise_sigmoid, symmetric_contrast
from selfsup.objectives.base import LossOutput
from selfsup.registry import registry
from selfsup.registry.builtin.objectives import SPECS
from selfsup.runtime.distributed import mean_over_ranks, world_size
from selfsup.tasks import StepOutput
from selfsup.testing.kit.objective_checks import ROWS, STEPS, draw, small_objective, take_step
from selfsup.training.loop.step_mean import joined, weighted_by_share

WORLD = 2
RECIPES = {spec.id: registry().load(spec) for spec in SPECS if spec.family == "joint-embedding"}
NARROW = {"output_dim": 5}
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{id: (id, {}) for id in RECIPES},
    "dclw": ("dcl", {"sigma": 0.5}),
    "mocov2-symmetric": ("mocov2", {"symmetric": True, "queue_size": 3}),
    "barlow-twins-narrow": ("barlow-twins", NARROW),
    "vicreg-narrow": ("vicreg", NARROW),
    "vicregl-narrow": ("vicregl", {**NARROW, "token_dim": 6, "n_matches": (3, 2)}),
}


def masks(step: int, views: int) -> list[Tensor]:
    """Per view which rows are there: few of the second process's, and in the last step none."""
    there = torch.rand(views, ROWS, generator=torch.Generator().manual_seed(step)) < 0.8
    there[:, ROWS // 2 : ROWS - 2] = False
    if step == STEPS - 1:
        there[:, ROWS // 2 :] = False
    return list(there)


def groups(step: int, views: int) -> Tensor:
    """[B, V], the same content twice here and there, in one process and across both."""
    return torch.randint(-1, ROWS, (ROWS, views), generator=torch.Generator().manual_seed(step))


def global_loss(output: LossOutput) -> Tensor:
    """What the trainer differentiates on each process: its mean over the processes is the loss of the whole batch."""
    terms = joined(StepOutput(output.loss, {}, output.weight, output.terms))
    return weighted_by_share(terms) if world_size() > 1 else output.loss


def run(name: str, rows: Tensor | None = None) -> list[dict[str, Tensor]]:
    """Per step the loss, the gradients as they are of the whole batch's loss, and the state."""
    id, options = OPTIONS[name]
    objective = small_objective(RECIPES[id], options)
    found = []
    for step in range(STEPS):
        given = draw(objective, step)
        views = max(len(given.online), 2)
        one = take_step(
            objective, given, masks(step, views), rows=rows, groups=groups(step, views), seed=step, total=global_loss
        )
        loss = mean_over_ranks(global_loss(one.output).detach())
        parameters = {f"gradient of {key}": mean_over_ranks(gradient) for key, gradient in one.parameters.items()}
        embeddings = {f"gradient {number}": gradient / world_size() for number, gradient in enumerate(one.gradients)}
        found.append({"loss": loss, **embeddings, **parameters, **one.state})
    return found


def against_open_clip(rank: int, world: int, name: str, ours: bool) -> list[Tensor]:
    """Loss and gradients of one process's share of a batch, of our loss or open_clip's, without absent rows."""
    from open_clip.loss import ClipLoss, SigLipLoss

    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, ROWS, 6, generator=generator, dtype=torch.float64).chunk(world, dim=1)[rank].clone()
    scale, bias = (torch.tensor([value], dtype=torch.float64) for value in (10.0, -3.0))
    leaves = [each.requires_grad_() for each in (a, b, scale, bias)][: 3 if name == "clip" else 4]
    if ours and name == "clip":
        loss = symmetric_contrast(a, b, scale)[0]
    elif ours:
        loss = pairwise_sigmoid(a, b, scale, bias)
    else:
        unit = [F.normalize(each, dim=1) for each in (a, b)]
        if name == "clip":
            loss = ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=world)(*unit, scale)
        else:
            loss = SigLipLoss(rank=rank, world_size=world)(*unit, scale, bias)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def most_saved() -> int:
    """Most numbers in a tensor that SigLIP's forward pass keeps for the backward pass."""
    a, b = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(0))
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pairwise_sigmoid(a.requires_grad_(), b.requires_grad_(), torch.ones(1), torch.zeros(1))
    return max(kept)


def process(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    rows = torch.arange(ROWS) // (ROWS // WORLD) == rank
    for name in OPTIONS:
        torch.save(run(name, rows), Path(folder) / f"{name}.{rank}.pt")
    for name in ("clip", "siglip"):
        pairs = [against_open_clip(rank, WORLD, name, ours) for ours in (True, False)] if find_spec("open_clip") else []
        torch.save(pairs, Path(folder) / f"open {name}.{rank}.pt")
    torch.save(most_saved(), Path(folder) / f"saved.{rank}.pt")
    torch.distributed.destroy_process_group()
