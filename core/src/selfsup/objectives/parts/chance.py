"""The value of a contrastive loss at chance."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def chance_loss(candidates: int | Tensor, like: Tensor) -> Tensor:
    """Scalar ln(candidates) on the device of ``like``: the loss where all candidates look alike, as they do in a collapse.

    ``candidates`` may be a scalar tensor on that device, where their number changes from step to step (a queue that fills).

    Tasks report it as the metric ``chance_loss`` beside their loss, and a run that stays there is warned about.
    """
    if isinstance(candidates, Tensor):
        return candidates.to(like.dtype).log()
    return torch.full((), math.log(candidates), device=like.device)
