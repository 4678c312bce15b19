"""A decoder from a feature map to an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup.runtime import evaluation_mode
from selfsup.types import Info
from selfsup_vision.backbones.base import channels_of


class FeatureMapDecoder(nn.Module):
    """Doubles the feature map by nearest neighbour and a 3x3 convolution until it reaches the wanted size.

    The width starts at ``width`` and is halved after the first doubling, at most twice. It is smaller than the decoders of the
    papers; that of the context encoder, for example, is as large as its encoder.

    Args:
        backbone: the source of the feature map.
        image_size: side of its input.
        out_channels: C.
        out_size: side of the result.
        width: channels at the feature map's size.

    Raises:
        ConfigError: the backbone has no feature map.
    """

    def __init__(self, backbone: Backbone, image_size: int, out_channels: int, out_size: int, width: int) -> None:
        super().__init__()
        side = feature_map_side(backbone, image_size)
        self.out_size = out_size
        self.enter = nn.Conv2d(backbone.embed_dim, width, kernel_size=1)
        doublings: list[nn.Module] = []
        narrow = width
        while side * 2 <= out_size:
            wide, narrow = narrow, max(narrow // 2, width // 4, 8) if doublings else narrow
            doublings.append(
                nn.Sequential(
                    nn.Upsample(scale_factor=2), nn.Conv2d(wide, narrow, 3, padding=1), nn.GroupNorm(1, narrow), nn.ReLU()
                )
            )
            side *= 2
        self.doublings = nn.Sequential(*doublings)
        self.leave = nn.Conv2d(narrow, out_channels, kernel_size=3, padding=1)

    def forward(self, encoded: Encoded) -> Tensor:
        """The tokens on their grid to [B, C, out_size, out_size]."""
        if encoded.tokens is None or encoded.grid is None:
            raise ConfigError("the decoder needs a feature map, and this batch was encoded without one.")
        features = encoded.tokens.transpose(1, 2).reshape(encoded.tokens.shape[0], -1, *encoded.grid)
        decoded: Tensor = self.doublings(self.enter(features))
        if decoded.shape[-1] != self.out_size:
            decoded = F.interpolate(decoded, size=(self.out_size, self.out_size), mode="bilinear", align_corners=False)
        image: Tensor = self.leave(decoded)
        return image


def image_decoder(backbone: Backbone, info: Info, width: int) -> FeatureMapDecoder:
    """The decoder to images of the processor's size and channels."""
    size = int(info["image_size"])
    return FeatureMapDecoder(backbone, size, channels_of(info), size, width)


def feature_map_side(backbone: Backbone, image_size: int) -> int:
    """The side of the feature map for images of a size, found by encoding one; the backbone does not change.

    Raises:
        ConfigError: there is no square feature map.
    """
    parameter = next(backbone.parameters())
    channels = int(getattr(backbone, "channels", 3))
    with evaluation_mode(backbone):
        encoded = backbone({"image": torch.zeros(1, channels, image_size, image_size, device=parameter.device)})
    grid = encoded.grid
    if encoded.tokens is None or grid is None or len(grid) != 2 or grid[0] != grid[1]:
        raise ConfigError(
            f"this task decodes a feature map, and {type(backbone).__name__} gives none for images of {image_size} pixels "
            f"(grid {grid}): choose another backbone, for example resnet-narrow or vit-tiny."
        )
    return int(grid[0])
