"""Detect collapse and stalled learning without labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

COLLAPSED_STD = 0.05
"""Embeddings have collapsed to a point if their relative spread is below this (healthy: about 1, collapsed: 0)."""
COLLAPSED_RANK = 1.5
"""Embeddings have collapsed to a line if their effective rank is below this."""
COLLAPSED_CODEBOOK = 1.5
"""A codebook has collapsed to one entry if its perplexity is below this."""
COLLAPSED_HEAD = 0.2
"""A head or its targets have collapsed if their spread (healthy: 1) is below this and below half of its first value."""
COLLAPSED_HEAD_RANK = 1.5
"""The outputs of a head have collapsed to a line if their rank is below this and was higher."""
COLLAPSED_ASSIGNMENT = 1.5
"""Nearly all samples are assigned to one prototype if the perplexity is below this."""
EVEN_ASSIGNMENT = 0.99
"""Assignments are uniform over all K prototypes if their entropy, divided by ln K, is above this."""
CHANCE = 0.01
"""A loss is no better than guessing if it differs from that of guessing by less than this share."""
INITIAL_SHARE = 1 / 3
"""A moving average with a larger share of its random start is reported."""


def embedding_std(embeddings: Tensor) -> float:
    """Spread of l2-normalised embeddings relative to a uniform distribution on the sphere: 1 is healthy, 0 is collapse.

    The mean over dimensions of the standard deviation over samples, divided by ``1 / sqrt(D)`` (Chen and He 2021, SimSiam,
    arXiv:2011.10566, section 4.1, plot it undivided).

    Args:
        embeddings: [N, D].
    """
    spread = F.normalize(embeddings.float(), dim=-1).std(dim=0).mean()
    return float(spread) * math.sqrt(embeddings.shape[1])


def effective_rank(embeddings: Tensor) -> float:
    """Effective number of dimensions, 1..min(N, D): the exponential of the entropy of the normalised singular values.

    RankMe (Garrido et al. 2023, arXiv:2210.02885, eq. 1-3) on centred embeddings: without centring, a common offset of all
    samples would be a direction.

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
    """A warning if the embeddings have collapsed; else empty.

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


def describe_initial_share(share: float, steps: int) -> str:
    """A warning if too much of the saved network will be its random start; else empty.

    Args:
        share: share of the random start, 0 to 1.
        steps: of the run.
    """
    if share > INITIAL_SHARE:
        return (
            f"Warning: after {steps} steps {100 * share:.0f} % of the network that is kept will still be its random start: it "
            "is a moving average, and its momentum is too high for so few steps. Train longer, lower the momentum (start), or "
            "leave start and end out: they then follow the length of the run."
        )
    return ""


def describe_codebook(perplexity: float) -> str:
    """A warning if a codebook has collapsed to one entry; else empty.

    Args:
        perplexity: how many entries (or clusters) are in use: the exponential of the entropy of their shares.
    """
    if perplexity < COLLAPSED_CODEBOOK:
        return (
            f"Warning: the codebook has collapsed: its perplexity is {perplexity:.2f}, practically all tokens are given to one "
            "entry, and nothing is left to tell apart. Lower the learning rate, raise the weight of the diversity loss, or "
            "take fewer entries."
        )
    return ""


def describe_head(name: str, value: float, first: float) -> str:
    """A warning if the outputs that a loss compares have collapsed; else empty.

    Values are compared with the first ones, since some networks start with a small spread.

    Args:
        name: ``target_std``, ``output_std``, ``sample_std`` or ``target_rank``.
        value: at this step.
        first: at the first logged step.
    """
    what, hint = _HEADS[name]
    if name == "target_rank":
        if value < COLLAPSED_HEAD_RANK and value < 0.9 * first:
            return f"Warning: {what} have collapsed to a line: their rank is {value:.2f} and was {first:.2f} at first. {hint}"
        return ""
    if value < COLLAPSED_HEAD and value < 0.5 * first:
        return f"Warning: {what} have collapsed: their spread ({name}) is {value:.3f} and was {first:.3f} at first. {hint}"
    return ""


_TEACHER_HINT = (
    "Nothing is left to tell samples apart. Lower the learning rate, let the target network follow more slowly (a higher "
    "momentum), or look at the options that should prevent it (predictor, centre, weights of the loss)."
)
_HEADS = {
    "target_std": ("the projections that the loss compares with", _TEACHER_HINT),
    "target_rank": ("the projections that the loss compares with", _TEACHER_HINT),
    "sample_std": ("the teacher's tokens, which hardly differ between samples,", _TEACHER_HINT),
    "output_std": (
        "the embeddings that the loss regularises",
        "Raise the weight of the term that keeps them apart (variance, SIGReg), or lower the learning rate.",
    ),
}
HEAD_METRICS = tuple(_HEADS)
"""Metrics that :func:`describe_head` knows."""


def describe_assignments(entropy: float, used: float) -> str:
    """A warning if assignments to prototypes have collapsed; else empty.

    Args:
        entropy: mean entropy of a sample's assignment divided by ln K, 0..1.
        used: perplexity of the mean assignment, 1..K.
    """
    if used < COLLAPSED_ASSIGNMENT:
        return (
            f"Warning: the prototypes have collapsed: {used:.2f} of them are in use, practically all samples are given to one. "
            "Move the centre faster (DINO: a smaller center_momentum), raise the teacher's temperature, or lower the rate."
        )
    if entropy > EVEN_ASSIGNMENT:
        return (
            f"Warning: the teacher's assignments are even: their entropy is {100 * entropy:.1f} % of what no preference gives, "
            "so there is nothing to learn from them. Lower the teacher's temperature (SwAV: epsilon), or the learning rate."
        )
    return ""


def describe_chance(loss: float, chance: float) -> str:
    """A warning if a loss is no better than guessing; else empty.

    Args:
        loss: the contrastive loss.
        chance: loss of guessing: ln(number of candidates), in the scale of the loss.
    """
    if abs(loss - chance) < CHANCE * chance:
        return (
            f"Warning: the loss stays at {loss:.3f}, which is what guessing among the candidates gives ({chance:.3f}): no "
            "sample is distinguished from another. The embedding has collapsed or the learning rate does not fit; change it or "
            "the task's options."
        )
    return ""


def describe_left_out(share: float) -> str:
    """A warning that the task leaves out samples.

    Args:
        share: of all samples so far, above 0.
    """
    return (
        f"Warning: {100 * share:.2g} % of the samples so far are left out of the loss: they are too short for this task. Ask "
        "for less (of videos a lower processor.frames, or transformation.length, .clips, .frames), or choose another task."
    )
