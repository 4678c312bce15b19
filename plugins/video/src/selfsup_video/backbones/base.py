"""What all video backbones share: the normalisation of their input, and several clips in one batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from selfsup.backbones import Backbone, Encoded
from selfsup.types import Batch, Info
from selfsup_video.clips import clip_shape

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VideoBackbone(Backbone):
    """A network for batches ``{"video": [B, T, 3, H, W]}``, uint8 or float in 0..1.

    Args:
        info: of the processor.
        mean: of each channel in 0..1, taken from the input.
        std: of each channel in 0..1, the input is divided by it.
    """

    modality: ClassVar[str] = "video"
    _mean: Tensor
    _std: Tensor

    def __init__(self, info: Info, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> None:
        super().__init__()
        self.info = {"frames": int(info["frames"])}
        self.register_buffer("_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def normalized(self, video: Tensor) -> Tensor:
        """[..., 3, H, W] float: ``mean`` taken off, divided by ``std``."""
        if video.dtype == torch.uint8:
            return (video.to(self._mean.dtype) - self._mean * 255.0).div_(self._std * 255.0)
        return (video.to(self._mean.dtype) - self._mean).div_(self._std)


class ConvBackbone(VideoBackbone):
    """A network whose feature map is pooled. It sees each clip apart; the embedding of a video is the mean over its clips."""

    def forward(self, batch: Batch) -> Encoded:
        """The tokens are the places of the feature maps, those of later clips behind those of earlier ones along time."""
        video = batch["video"]
        clips, frames = clip_shape(video, self.info)
        features = self.features(self.normalized(video.reshape(-1, frames, *video.shape[2:])).transpose(1, 2))
        t, h, w = features.shape[2:]
        tokens = features.flatten(2).transpose(1, 2).reshape(video.shape[0], clips * t * h * w, -1)
        return Encoded(tokens.mean(dim=1), tokens, (clips * t, h, w))

    @abstractmethod
    def features(self, video: Tensor) -> Tensor:
        """The feature map [b, D, t, h, w] of normalised clips [b, 3, n, H, W]."""
