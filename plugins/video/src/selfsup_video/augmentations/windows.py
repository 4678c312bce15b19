"""Draw the clip and the place in time of each view."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Interval = Literal["independent", "decreasing", "uniform"]


def draw_places(
    n: int, views: int, clips: int, interval: Interval, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw the clip that each view of n samples is cut from, and the place in it.

    CVRL (Qian et al. 2020, arXiv:2008.03800, section 3.2) draws the distance d of the first two views: ``decreasing`` with
    density 2 (1 - d), its best choice, or ``uniform``; d = 1 is from the beginning of a clip to its end. All views of a sample
    are then in one clip, and which of the two is earlier is random. ``independent`` views are anywhere in any clip; within one
    clip their distance has the decreasing density, too.

    Args:
        n: number of samples.
        views: number of views.
        clips: K.
        interval: the distribution of distances.
        generator: source of randomness.
        device: of the result.

    Returns:
        Clips [views, n] long, and places [views, n] in 0..1.
    """
    place = torch.rand((views, n), generator=generator, device=device)
    if interval == "independent":
        return torch.randint(clips, (views, n), generator=generator, device=device), place
    clip = torch.randint(clips, (1, n), generator=generator, device=device).expand(views, -1)
    if views > 1:
        distance = torch.rand(n, generator=generator, device=device)
        if interval == "decreasing":
            # The inverse of the distribution function 1 - (1 - d)^2.
            distance = 1 - (1 - distance).sqrt()
        early = place[0] * (1 - distance)
        swap = torch.rand(n, generator=generator, device=device) < 0.5
        pair = torch.stack([early, early + distance])
        place = torch.cat([torch.where(swap, pair.flip(0), pair), place[2:]])
    return clip, place
