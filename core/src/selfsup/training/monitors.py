"""Does the embedding collapse? Two numbers that need no label."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

COLLAPSED_STD = 0.05
"""Below this relative spread all embeddings are practically one point (a healthy embedding has about 1, a collapsed one 0)."""
COLLAPSED_RANK = 1.5
"""Below this effective rank the embeddings lie on one line."""


def embedding_std(embeddings: Tensor) -> float:
    """Spread of l2-normalised embeddings against that of a uniform distribution on the sphere: 1 is healthy, 0 is collapse.

    The mean over dimensions of the standard deviation over samples, divided by ``1 / sqrt(D)`` (Chen and He 2021, SimSiam,
    arXiv:2011.10566, section 4.1, which plots it undivided).

    Args:
        embeddings: [N, D].
    """
    spread = F.normalize(embeddings.float(), dim=-1).std(dim=0).mean()
    return float(spread) * math.sqrt(embeddings.shape[1])


def effective_rank(embeddings: Tensor) -> float:
    """How many directions the embeddings fill, 1..min(N, D): the exponential of the entropy of the singular values' shares.

    RankMe (Garrido et al. 2023, arXiv:2210.02885, eq. 1-3) on centred embeddings: without centring, a common offset of all
    samples would count as a direction.

    Args:
        embeddings: [N, D].
    """
    centred = embeddings.double() - embeddings.double().mean(dim=0)
    values = torch.linalg.svdvals(centred)
    total = values.sum()
    if float(total) == 0.0:
        return 1.0
    shares = values / total
    return math.exp(float(-(shares * torch.log(shares.clamp_min(1e-300))).sum()))


def describe_collapse(std: float, rank: float) -> str:
    """A warning if the embeddings have collapsed, else an empty text.

    Args:
        std: from :func:`embedding_std`.
        rank: from :func:`effective_rank`.
    """
    if std < COLLAPSED_STD:
        return (
            f"Warning: the embedding has collapsed: the spread of the normalised embeddings is {std:.3f} of what it should be. "
            "The encoder gives every row nearly the same embedding; lower the learning rate, or change the task's options."
        )
    if rank < COLLAPSED_RANK:
        return (
            f"Warning: the embedding has collapsed to a line: its effective rank is {rank:.2f}. "
            "Lower the learning rate, or change the task's options."
        )
    return ""
