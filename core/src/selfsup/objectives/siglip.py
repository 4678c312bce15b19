"""SigLIP's loss: does each pair of the batch belong together? A sigmoid a pair, and no softmax over the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import counted, in_both_views, mean_cosine, only_valid, same_content
from selfsup.runtime.distributed import gather, rank, sum_over_ranks, world_size

LeftOut = Callable[[int], Tensor | None]
"""From the number of a device to [B, B] bool, which pairs of this device's rows and that one's do not count; None: all do."""


def pairwise_sigmoid(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    bias: Tensor,
    valid: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """The sum of -log sigmoid(z (scale cos + bias)) over the pairs of a sample, the mean over samples (z is 1 for its own pair
    and -1 for others; Zhai et al. 2023, arXiv:2303.15343, equation 1).

    The devices' shares of ``b`` pass by one after the other (section 3.3): each device holds the cosines with one share at a
    time, forward and backward, so that its memory does not grow with their number.

    Args:
        a: [B, P], one view of each sample; scaled to unit length here, as ``b`` is.
        b: [B, P], another view.
        scale: [1], multiplies the cosines.
        bias: [1], added to them.
        valid: [B] bool, the samples that count; None: all.
        groups: [B, V], as ``ViewEmbeddings.groups``: pairs of samples that show the same do not count; None: all pairs do.

    Returns:
        Scalar.
    """
    a, b = F.normalize(only_valid(a, valid), dim=1), F.normalize(only_valid(b, valid), dim=1)
    left_out = _left_out(len(a), valid, groups)
    if world_size() == 1:
        total = _pair_losses(a, b, scale, bias, left_out(0), own=True)
    else:
        total = _OverDevices.apply(a, b, scale, bias, left_out)
    return total / (len(a) if valid is None else valid.sum().clamp_min(1))


def _left_out(rows: int, valid: Tensor | None, groups: Tensor | None) -> LeftOut:
    """Works out for one device's share at a time what does not count."""
    there = None if valid is None else gather(valid.to(torch.uint8)).bool()
    shown = None if groups is None else gather(groups)

    def of(source: int) -> Tensor | None:
        share = slice(source * rows, (source + 1) * rows)
        pairs = None
        if groups is not None and shown is not None:
            pairs = same_content(groups, shown[share])
            if source == rank():
                pairs = pairs & ~torch.eye(rows, dtype=torch.bool, device=pairs.device)
        if valid is not None and there is not None:
            absent = ~(valid[:, None] & there[share])
            pairs = absent if pairs is None else pairs | absent
        return pairs

    return of


def _pair_losses(a: Tensor, b: Tensor, scale: Tensor, bias: Tensor, left_out: Tensor | None, *, own: bool) -> Tensor:
    """Scalar, the sum over pairs of [B, P] and [C, P]; ``own``: those on the diagonal belong together."""
    logits = scale * (a @ b.T) + bias
    signed = torch.where(torch.eye(len(a), dtype=torch.bool, device=a.device), logits, -logits) if own else -logits
    losses = -F.logsigmoid(signed)
    return (losses if left_out is None else losses.masked_fill(left_out, 0.0)).sum()


class _OverDevices(torch.autograd.Function):
    """The sum over the pairs of this device's ``a`` and every device's ``b``, without their cosines in memory.

    The backward pass computes each share's again, and hands its gradient back to the device that it came from.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, scale: Tensor, bias: Tensor, left_out: LeftOut) -> Tensor:
        ctx.save_for_backward(a, b, scale, bias)
        ctx.left_out = left_out
        total = a.new_zeros(())
        for source in range(world_size()):
            share = _from(source, b)
            total = total + _pair_losses(a, share, scale, bias, left_out(source), own=source == rank())
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        a, b, scale, bias = (each.detach() for each in ctx.saved_tensors)
        of_b = torch.zeros_like(b)
        sums = [torch.zeros_like(a), torch.zeros_like(scale), torch.zeros_like(bias)]
        for source in range(world_size()):
            leaves = [each.requires_grad_() for each in (a.detach(), scale.detach(), bias.detach(), _from(source, b))]
            with torch.enable_grad():
                own, share = leaves[0], leaves[3]
                loss = _pair_losses(own, share, leaves[1], leaves[2], ctx.left_out(source), own=source == rank())
            *ours, theirs = torch.autograd.grad(loss, leaves, gradients[0])
            for total, gradient in zip(sums, ours, strict=True):
                total += gradient
            theirs = theirs.contiguous()
            dist.reduce(theirs, dst=source)
            if source == rank():
                of_b = theirs
        return sums[0], of_b, sums[1], sums[2], None


def _from(source: int, b: Tensor) -> Tensor:
    """The ``b`` of one device, on every device."""
    share = b.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(share, src=source)
    return share


class SigLIPConfig(Config):
    """SigLIP (Zhai et al. 2023, arXiv:2303.15343)."""

    scale: float = Field(default=10.0, gt=0)
    """What multiplies the cosines at first; it is learned from there (paper: 10)."""
    bias: float = -10.0
    """What is added at first, so that the many pairs that do not belong together weigh little; learned (paper: -10)."""
    ignore_duplicates: bool = True
    """Whether pairs of samples that show the same in a view (a caption twice) do not count (paper: they do)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layer where views do not share a space of the backbone (SimCLR: 2048)."""
    output_dim: int = Field(default=512, ge=1)
    """Width of the projection where views do not share a space of the backbone (paper: 768 for ViT-B/16)."""


class SigLIP(JointEmbeddingObjective):
    """The sigmoid loss of all pairs with a learned scale and bias.

    Across the parts of a row it compares the embeddings in their joint space as they are, which the backbone keeps. Elsewhere
    (two views of one kind of data, parts without a joint space) it does so behind SimCLR's projector. The logarithm of the
    scale and the bias are learned without weight decay; nothing cuts them, as in the authors' code.
    """

    Config = SigLIPConfig
    handles_absent = True
    config: SigLIPConfig

    def __init__(self, config: SigLIPConfig) -> None:
        super().__init__(config)
        # One number in one dimension: weights that are spread over devices cannot have none.
        self.log_scale = nn.Parameter(torch.full((1,), math.log(config.scale)))
        self.logit_bias = nn.Parameter(torch.full((1,), config.bias))

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim], last_norm="affine")

    def build_joint_projector(self, joint_dim: int) -> nn.Module:
        """None: the joint space is what is compared."""
        return nn.Identity()

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        valid = in_both_views(embeddings)
        scale, bias = self.log_scale.to(a.dtype).exp(), self.logit_bias.to(a.dtype)
        loss = pairwise_sigmoid(a, b, scale, bias, valid, embeddings.groups if self.config.ignore_duplicates else None)
        metrics = {
            "scale": scale.detach().squeeze(),
            "bias": bias.detach().squeeze(),
            "positive_similarity": mean_cosine(a, b, valid),
            "chance_loss": _chance(len(a) * world_size(), valid, loss),
        }
        return LossOutput(loss, metrics, counted(valid, loss))


@torch.no_grad()
def _chance(rows: int, valid: Tensor | None, loss: Tensor) -> Tensor:
    """The least loss where all pairs look alike: each then has the odds 1 to N - 1, and the loss is N times their entropy."""
    n = loss.new_full((), rows) if valid is None else sum_over_ranks(valid.sum().to(loss.dtype)).clamp_min(1)
    others: Tensor = torch.special.xlogy(n - 1, n / (n - 1).clamp_min(1))
    return n.log() + others


RECIPE = ObjectiveRecipe(
    config=SigLIPConfig,
    build=SigLIP,
    optimization={"optimizer": "adamw", "lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 1e-4},
)
"""SigLIP with the paper's rate, weight decay and second decay rate (0.95 keeps large batches stable); its optimizer is a
variant of Adafactor. The warm-up is the usual 5 % of the run."""
