"""Decoupled contrastive learning: NT-Xent without the positive in the denominator."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfsup.objectives.base import LossOutput, ViewEmbeddings
from selfsup.objectives.nt_xent import RECIPE as SIMCLR_RECIPE
from selfsup.objectives.nt_xent import SimCLR, SimCLRConfig
from selfsup.objectives.parts.valid_rows import (
    counted,
    in_both_views,
    mean_cosine,
    not_compared,
    only_valid,
    own_columns,
    valid_mean,
)
from selfsup.runtime.distributed import gather


def dcl(
    a: Tensor,
    b: Tensor,
    temperature: float,
    sigma: float | None = None,
    valid: Tensor | None = None,
    left_out: Tensor | None = None,
) -> Tensor:
    """DCL (Yeh et al. 2021, arXiv:2110.06848, equation 6), averaged over both views where the paper adds them.

    Args:
        a: [B, P], embeddings of one view of each sample; scaled to unit length here.
        b: [B, P], of another view.
        temperature: divides the cosines.
        sigma: concentration of the von Mises-Fisher weights of the positives (DCLW, equation 7); None weighs all alike.
        valid: [B] bool, the samples that count; None: all.
        left_out: [B, N] bool, samples of the global batch that are no negatives, from
            ``not_compared``; None: all others are. A sample without any negative then has
            the term of its positive alone.

    Returns:
        Scalar. It can be negative.
    """
    a, b = F.normalize(only_valid(a, valid), dim=1), F.normalize(only_valid(b, valid), dim=1)
    everything = torch.cat([gather(a), gather(b)])
    n = len(everything) // 2
    mine = own_columns(len(a), a.device)
    same_sample = mine.repeat(2)[:, None] == torch.arange(n, device=a.device).repeat(2)
    logits = torch.cat([a, b]) @ everything.T / temperature
    if left_out is None:
        negatives = logits.masked_fill(same_sample, float("-inf")).logsumexp(dim=1).mean()
    else:
        none = same_sample | left_out.repeat(2, 2)
        some = ~none.all(dim=1)
        # Rows without a negative get finite numbers, and then no weight.
        finite = logits.masked_fill(none & some[:, None], float("-inf"))
        sums = only_valid(finite.logsumexp(dim=1), some)
        negatives = valid_mean(sums, None if valid is None else valid.repeat(2))
    cosines = (a * b).sum(dim=1)
    if sigma is not None:
        cosines = cosines * _von_mises_fisher(cosines.detach() / sigma, valid)[mine]
    return negatives - valid_mean(cosines, valid) / temperature


def _von_mises_fisher(scores: Tensor, valid: Tensor | None) -> Tensor:
    """[N], the weights of the positives of the global batch: 2 less a softmax over them times their number (equation 7)."""
    everywhere = gather(scores)
    if valid is None:
        return 2 - len(everywhere) * everywhere.softmax(dim=0)
    there = gather(valid.to(torch.uint8)).bool()
    shares = only_valid(everywhere.masked_fill(~there, float("-inf")).softmax(dim=0), there)
    return 2 - there.sum() * shares


class DCLConfig(SimCLRConfig):
    """DCL (Yeh et al. 2021, arXiv:2110.06848), with SimCLR's projector."""

    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines (paper: 0.1)."""
    sigma: float | None = Field(default=None, gt=0)
    """Weighs the positives as DCLW does, with this concentration (paper: 0.5); None: plain DCL."""


class DCL(SimCLR):
    """The decoupled loss behind SimCLR's projector."""

    Config = DCLConfig
    config: DCLConfig

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        valid = in_both_views(embeddings)
        left_out = not_compared(valid, embeddings.groups)
        loss = dcl(a, b, self.config.temperature, self.config.sigma, valid, left_out)
        return LossOutput(loss, {"positive_similarity": mean_cosine(a, b, valid)}, counted(valid, loss))


RECIPE = replace(SIMCLR_RECIPE, config=DCLConfig, build=DCL)
"""DCL with the paper's settings, which are SimCLR's."""
