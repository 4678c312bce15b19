"""wav2vec 2.0's contrast: which of a sample's hidden tokens belongs here?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Contrast(NamedTuple):
    """The outcome for each anchor."""

    loss: Tensor
    """[B, M], cross-entropy of finding the own target among the candidates."""
    hit: Tensor
    """[B, M] bool, whether no other candidate came as close."""


def sample_negatives(weight: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """[B, M, count] long: other hidden tokens of the same sample, all alike likely, with replacement.

    A sample with a single hidden token has none; it then gets its own, which :func:`masked_contrast` leaves out.

    Args:
        weight: [B, M], positive in the first slots, which hold tokens, and 0 in those behind.
        count: negatives of each token; 100 in the paper.
        generator: source of the draws.
    """
    B, M = weight.shape
    others = (weight > 0).sum(dim=1).view(B, 1, 1) - 1
    u = torch.rand(B, M, count, generator=generator, device=weight.device)
    drawn = torch.minimum((u * others).long(), others - 1).clamp(min=0)
    own = torch.arange(M, device=weight.device).view(1, M, 1)
    return torch.minimum(drawn + (drawn >= own), others.clamp(min=0))


def masked_contrast(prediction: Tensor, target: Tensor, codes: Tensor, negatives: Tensor, temperature: float) -> Contrast:
    """The contrastive loss of wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477, equation 3) of each hidden token.

    As in the authors' code, negatives that were quantized to the very entries of the positive are left out.

    Args:
        prediction: [B, M, P], from the context.
        target: [B, M, P], the quantized tokens.
        codes: [B, M, G] long, their entries.
        negatives: [B, M, n] long, which of the M are each one's negatives.
        temperature: divides the cosines; 0.1 in the paper.
    """
    # All cosines of a sample in one product, then the wanted ones are picked: n vectors of width P apiece are not.
    cosine = F.normalize(prediction, dim=-1) @ F.normalize(target, dim=-1).transpose(1, 2)
    same = (codes.unsqueeze(2) == codes.unsqueeze(1)).all(dim=-1)
    positive = cosine.diagonal(dim1=1, dim2=2).unsqueeze(-1) / temperature
    negative = (cosine.gather(2, negatives) / temperature).masked_fill(same.gather(2, negatives), -math.inf)
    logits = torch.cat([positive, negative], dim=2)
    hit = (positive > negative).all(dim=2)
    return Contrast(logits.logsumexp(dim=2) - positive.squeeze(-1), hit)
