"""Colorization: predict the colours of a grey image."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.config import Config, idle
from selfsup.errors import ConfigError
from selfsup.runtime import sum_over_ranks
from selfsup.tasks import Corrupted, Corruption, CorruptionRecipe, Term
from selfsup.types import Batch, Info
from selfsup_images.pipeline import to_float
from selfsup_vision.backbones.base import channels_of
from selfsup_vision.corruptions.decoder import FeatureMapDecoder
from selfsup_vision.corruptions.lab import ab_cells, rgb_to_lab

_AB_SCALE = 110.0
"""Scale of a and b for regression, which brings them to about -1..1."""


class ColorizationConfig(Config):
    """Options of :class:`Colorization`."""

    target: Literal["classes", "regression"] = "classes"
    """Predict the cell of the ab plane of a colour, or a and b with squared error; classes in the paper."""
    cell: float = Field(10.0, ge=2, le=50)
    """Side of a cell of the ab plane; 10 in the paper."""
    rebalancing: float = Field(0.5, ge=0, le=1)
    """Lambda, from 0 (weight 1 / frequency) to 1 (equal weights); 0.5 in the paper."""
    smoothing: float = Field(5.0, gt=0)
    """Standard deviation in the ab plane by which frequencies are smoothed; 5 in the paper."""
    frequency_momentum: float = Field(0.99, ge=0, lt=1)
    """Momentum of the running frequencies at each step; the paper counts them over ImageNet beforehand."""
    stride: int = Field(4, ge=1)
    """The image is this many times larger than the predicted colours along each side; 4 in the paper."""
    decoder_width: int = Field(128, ge=8)
    """Channels of the decoder at the feature map's size."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        regression = self.target == "regression"
        return idle("corruption.target is regression", regression, "cell", "rebalancing", "smoothing", "frequency_momentum")


class Colorization(Corruption):
    """Colorful image colorization (Zhang et al. 2016, arXiv:1603.08511): from lightness to the colour of each pixel.

    The network sees the lightness L in all three channels, but its encoder is evaluated on RGB like all others; the paper
    evaluates on lightness. In small runs on CIFAR-10 (two seeds) the linear probe was 3.0 points above an untrained network on
    lightness and 1.6 on RGB; its score was 33 on both.
    The colours are those of the image shrunk by ``stride``.
    Differences from the paper: the target is the cell of a colour only, not a soft one over the five nearest; the cells are all
    that sRGB reaches; their frequencies are a running estimate over the training batches, for any data; the decoder is small.

    Raises:
        ConfigError: the images have channels other than red, green and blue.
    """

    table: Tensor
    smoother: Tensor
    frequency: Tensor
    seen: Tensor

    def __init__(self, config: ColorizationConfig, info: Info) -> None:
        super().__init__()
        if (channels := channels_of(info)) != 3:
            raise ConfigError(
                f"vision/colorization predicts colours from lightness, and these images have {channels} channels "
                "(processor.channels): choose another task, such as vision/inpainting."
            )
        self.config = config
        self.image_size = int(info["image_size"])
        self.out_size = max(self.image_size // config.stride, 1)
        if config.target == "classes":
            centres, table = ab_cells(config.cell)
            near = torch.exp(-0.5 * (torch.cdist(centres, centres) / config.smoothing).square())
            self.n_classes = len(centres)
            self.register_buffer("table", table.clone(), persistent=False)
            self.register_buffer("smoother", near / near.sum(dim=1, keepdim=True), persistent=False)
            self.register_buffer("frequency", torch.full((self.n_classes,), 1.0 / self.n_classes))
            self.register_buffer("seen", torch.zeros(self.n_classes), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """Draws nothing. The target is [B, s, s] long with a weight of the same shape, or [B, 2, s, s] float."""
        lab = rgb_to_lab(to_float(batch["image"]))
        grey = (lab[:, :1] / 100.0).expand(-1, 3, -1, -1)
        ab = F.adaptive_avg_pool2d(lab[:, 1:], self.out_size)
        if self.config.target == "regression":
            return Corrupted({"image": grey}, ab / _AB_SCALE)
        middle = self.table.shape[0] // 2
        place = (ab / self.config.cell).round().long().clamp(-middle, middle) + middle
        target = self.table[place[:, 0], place[:, 1]]
        weight = self.class_weights()[target]
        if self.training:
            self.seen.scatter_add_(0, target.flatten(), torch.ones_like(target, dtype=self.seen.dtype).flatten())
        return Corrupted({"image": grey}, target, weight)

    def class_weights(self) -> Tensor:
        """[Q], the weight of each class (equation 4).

        1 / ((1 - lambda) * smoothed frequency + lambda / Q), scaled to a mean of 1 over pixels.
        """
        mixed = (1 - self.config.rebalancing) * (self.smoother @ self.frequency) + self.config.rebalancing / self.n_classes
        weight = 1.0 / mixed.clamp(min=1e-6)
        return weight / (weight * self.frequency).sum()

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Update the frequencies of colours from the whole step, over all devices and parts of the batch."""
        if self.config.target == "classes":
            seen = sum_over_ranks(self.seen)
            share = torch.where(seen.sum() > 0, seen / seen.sum(), self.frequency)
            self.frequency.lerp_(share, 1.0 - self.config.frequency_momentum)
            self.seen.zero_()

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """From the feature map to logits of the classes, or to a and b."""
        channels = self.n_classes if self.config.target == "classes" else 2
        return FeatureMapDecoder(backbone, self.image_size, channels, self.out_size, self.config.decoder_width)

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Weighted cross-entropy, or mean squared error, in float32."""
        prediction = prediction.float()
        if corrupted.weight is None:
            return Term((prediction - corrupted.target).square().mean())
        return Term((F.cross_entropy(prediction, corrupted.target, reduction="none") * corrupted.weight).mean())


RECIPE = CorruptionRecipe(config=ColorizationConfig, build=Colorization)
"""Colorization of images."""
