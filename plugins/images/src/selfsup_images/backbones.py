"""What backbones of images and of videos share: the scaling of their pixels, and the tokens of timm's feature maps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from selfsup.backbones import Backbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PixelBackbone(Backbone):
    """A network for pixels, uint8 or float in 0..1.

    Args:
        mean: of each channel in 0..1, subtracted from the input.
        std: of each channel in 0..1, the input is divided by it.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> None:
        super().__init__()
        # The constructor rebuilds them, so that the state dict holds the network's weights only.
        self.register_buffer("_mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def scaled(self, pixels: Tensor) -> Tensor:
        """[..., C, H, W] float: minus ``mean``, divided by ``std``."""
        if pixels.dtype == torch.uint8:
            return (pixels.to(self._mean.dtype) - self._mean * 255.0).div_(self._std * 255.0)
        return (pixels.to(self._mean.dtype) - self._mean).div_(self._std)

    def describe_input(self) -> str:
        """The mean and the deviation of each channel."""
        mean, std = ([round(float(value), 4) for value in buffer.flatten()] for buffer in (self._mean, self._std))
        return f"channels are scaled by mean {mean} and deviation {std}"


def timm_width(model: Any) -> tuple[int, bool]:
    """The width of a timm model's pooled embedding, and whether its feature map has the same width, so that it gives tokens.

    Some heads widen the features (MobileNetV3).
    """
    width = int(getattr(model, "head_hidden_size", model.num_features))
    return width, width == model.num_features


def timm_tokens(model: Any, features: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The feature map of a timm model as tokens [B, N, D], and their lattice (a line if timm does not say)."""
    if features.ndim == 3:
        tokens = features[:, int(getattr(model, "num_prefix_tokens", 0)) :]
        grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
        return tokens, tuple(grid) if grid and math.prod(grid) == tokens.shape[1] else (tokens.shape[1],)
    if str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC"):
        return features.flatten(1, 2), (features.shape[1], features.shape[2])
    return features.flatten(2).transpose(1, 2), (features.shape[2], features.shape[3])
