"""What shows that a head or its targets collapse: numbers for the log, without gradient and without a wait for the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_RANK_ROWS = 256
"""More rows would say the same at a higher price."""


@torch.no_grad()
def relative_std(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Spread of vectors scaled to unit length against that of a uniform distribution on the sphere: 1 is healthy, 0 collapse.

    The mean over dimensions of the standard deviation over samples, times sqrt(P) (Chen & He 2020, SimSiam, arXiv:2011.10566,
    section 4.1, which plots it undivided).

    Args:
        x: [B, P], on this device.
        valid: [B] bool, the samples that count; None: all.

    Returns:
        Scalar; 0 of a single sample.
    """
    return _std(F.normalize(x.float(), dim=1), valid).mean() * math.sqrt(x.shape[1])


@torch.no_grad()
def rank_of(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """How many directions vectors differ in: the participation ratio (sum of eigenvalues)^2 / sum of their squares, 1..P.

    Of the covariance of at most 256 of the samples, scaled to unit length. Where all dimensions say the same it is 1, though
    each may have its spread (the dimensional collapse of Hua et al. 2021, arXiv:2105.00470).

    Args:
        x: [B, P], on this device.
        valid: [B] bool, the samples that count; None: all.

    Returns:
        Scalar; 0 where the vectors do not differ at all.
    """
    x = F.normalize(x[:_RANK_ROWS].float(), dim=1)
    if valid is None:
        x = x - x.mean(dim=0)
    else:
        there = valid[:_RANK_ROWS, None]
        x = torch.where(there, x - _mean(x, valid[:_RANK_ROWS]), 0.0)
    products = x @ x.T if len(x) < x.shape[1] else x.T @ x
    squares = products.square().sum()
    return products.diagonal().sum().square() / squares.clamp_min(torch.finfo(x.dtype).tiny)


@torch.no_grad()
def output_std(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Spread of embeddings as they are, for a loss that wants it to be 1 (VICReg, LeJEPA): 0 is collapse.

    Args:
        x: [B, P], on this device.
        valid: [B] bool, the samples that count; None: all.

    Returns:
        Scalar, the mean over dimensions of the standard deviation over samples.
    """
    return _std(x.float(), valid).mean()


def _mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """[P], the mean over the samples of [B, P] that count; 0 where none does."""
    if valid is None:
        return x.mean(dim=0)
    return torch.where(valid[:, None], x, 0.0).sum(dim=0) / valid.sum().clamp_min(1)


def _std(x: Tensor, valid: Tensor | None) -> Tensor:
    """[P], the standard deviation over the samples of [B, P] that count."""
    if valid is None:
        return x.std(dim=0, correction=0)
    return _mean((x - _mean(x, valid)).square(), valid).sqrt()


@torch.no_grad()
def sample_std(x: Tensor, padding: Tensor | None = None) -> Tensor:
    """How much tokens at the same place differ between samples, against how much all tokens do: 1 is healthy, 0 is collapse.

    A network whose tokens say where they are, and nothing of the sample, has 0 here, though its tokens differ.

    Args:
        x: [B, N, D].
        padding: [B, N] bool, tokens that do not count; None: all count.

    Returns:
        Scalar, the mean over places and channels of the standard deviation over samples, divided by the mean over channels of
        that over all tokens.
    """
    x = x.float()
    there = torch.ones_like(x[..., :1]) if padding is None else (~padding).unsqueeze(-1).float()
    count = there.sum(dim=0).clamp_min(1)
    centred = (x - (x * there).sum(dim=0) / count) * there
    by_place = (centred.square().sum(dim=0) / count).sqrt().mean(dim=-1)
    weight = there.sum(dim=0).squeeze(-1)
    total = there.sum().clamp_min(1)
    everywhere = (x - (x * there).sum(dim=(0, 1)) / total) * there
    spread = (everywhere.square().sum(dim=(0, 1)) / total).sqrt().mean()
    return (by_place * weight).sum() / weight.sum().clamp_min(1) / spread.clamp_min(torch.finfo(x.dtype).tiny)


@torch.no_grad()
def assignment_metrics(probabilities: Tensor, used: Tensor | None = None, valid: Tensor | None = None) -> dict[str, Tensor]:
    """How sure assignments to K prototypes are, and how many prototypes they use.

    Both ends are a collapse: assignments that are even for every sample, and those to the same prototype for all samples.

    Args:
        probabilities: [B, K], the teacher's; rows sum to 1.
        used: [B, K], whose use is counted instead, where the teacher's are balanced by force; None: ``probabilities``.
        valid: [B] bool, the samples that count; None: all.

    Returns:
        ``teacher_entropy``: the mean entropy of a row divided by ln K, 0..1; ``prototypes_used``: the exponential of the
        entropy of the mean row, 1..K.
    """
    p = probabilities.float()
    mean = _mean(p if used is None else used.float(), valid)
    return {
        "teacher_entropy": _mean(_entropy(p).unsqueeze(1), valid).squeeze(0) / math.log(p.shape[1]),
        "prototypes_used": _entropy(mean).exp(),
    }


def _entropy(p: Tensor) -> Tensor:
    """Along the last dimension, in nats."""
    products: Tensor = torch.special.xlogy(p, p)
    return -products.sum(dim=-1)
