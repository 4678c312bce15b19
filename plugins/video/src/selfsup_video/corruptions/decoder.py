"""A decoder from a feature map in space and time to a video."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup.runtime import evaluation_mode
from selfsup.types import Info


class VideoDecoder(nn.Module):
    """Doubles the feature map along all axes by nearest neighbour and a 3x3x3 convolution until it has the video's size.

    The width starts at ``width`` and is halved by every doubling, down to 8.

    Args:
        backbone: the source of the feature map.
        info: of the processor.
        width: channels at the feature map's size.

    Raises:
        ConfigError: the backbone has no feature map in space and time.
    """

    def __init__(self, backbone: Backbone, info: Info, width: int) -> None:
        super().__init__()
        frames, side = int(info["frames"]), int(info["image_size"])
        self.size = (frames * int(info["clips"]), side, side)
        grid = lattice_of(backbone, frames, side)
        doublings = max(math.ceil(math.log2(side / grid[1])), math.ceil(math.log2(side / grid[2])), 0)
        self.enter = nn.Conv3d(backbone.embed_dim, width, kernel_size=1)
        steps: list[nn.Module] = []
        for _ in range(doublings):
            narrow = max(width // 2, 8)
            steps.append(nn.Sequential(nn.Conv3d(width, narrow, 3, padding=1), nn.GroupNorm(1, narrow), nn.ReLU()))
            width = narrow
        self.steps = nn.ModuleList(steps)
        self.leave = nn.Conv3d(width, 3, kernel_size=3, padding=1)

    def forward(self, encoded: Encoded) -> Tensor:
        """The tokens on their lattice to [B, T, 3, S, S]."""
        if encoded.tokens is None or encoded.grid is None:
            raise ConfigError("the decoder needs a feature map, and this batch was encoded without one.")
        x = self.enter(encoded.tokens.transpose(1, 2).reshape(encoded.tokens.shape[0], -1, *encoded.grid))
        for number, step in enumerate(self.steps, start=1):
            last = number == len(self.steps)
            size = [full if last else min(2 * now, full) for now, full in zip(x.shape[2:], self.size, strict=True)]
            x = step(F.interpolate(x, size=size))
        x = x if tuple(x.shape[2:]) == self.size else F.interpolate(x, size=self.size)
        video: Tensor = self.leave(x).transpose(1, 2)
        return video


def lattice_of(backbone: Backbone, frames: int, side: int) -> tuple[int, ...]:
    """The lattice of the feature map of one clip, found by encoding one; the backbone does not change.

    Raises:
        ConfigError: there is no feature map in space and time.
    """
    parameter = next(backbone.parameters())
    with evaluation_mode(backbone):
        encoded: Encoded = backbone({"video": torch.zeros(1, frames, 3, side, side, device=parameter.device)})
    if encoded.tokens is None or encoded.grid is None or len(encoded.grid) != 3:
        raise ConfigError(
            f"this task decodes a feature map in space and time, and {type(backbone).__name__} gives none (grid "
            f"{encoded.grid}): choose another backbone, for example conv3d-small or video-vit-small."
        )
    return encoded.grid
