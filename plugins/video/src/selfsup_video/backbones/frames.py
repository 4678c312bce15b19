"""``timm-frames/*``: a timm model on each frame, pooled over time."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from selfsup.backbones import BackboneRecipe, Encoded, load_weights, mean_over_tokens
from selfsup.config import Config, idle
from selfsup.errors import ConfigError, UnknownIdError
from selfsup.types import Batch, Info
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD, timm_tokens, timm_width
from selfsup_video.backbones.base import VideoBackbone
from selfsup_video.clips import changes, clip_shape, is_padding, real_frames


class FramesConfig(Config):
    """Options of a timm model on frames."""

    name: str
    """A name of timm (``timm.list_models()``), perhaps with a tag of weights: ``resnet18``, ``resnet50.a1_in1k``."""
    pretrained: bool = False
    """Whether to start from timm's weights for this name, fetched from the network. They bring the size of the frames that they
    were trained with, and the mean and deviation of each channel."""
    checkpoint: str | None = None
    """Path of a state dict with timm's names to start from (``.safetensors``, or ``.pth`` with tensors only)."""
    seen: Literal["all", "middle"] = "all"
    """Every frame, or only the middle one of the middle clip: the same network without motion."""
    pool: Literal["mean", "mean-difference"] = "mean"
    """Pooling over time: the mean, or the mean and the mean absolute difference of consecutive embeddings (twice the width)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("backbone.checkpoint takes the place of the library's weights", self.checkpoint is not None, "pretrained")


class FramesBackbone(VideoBackbone):
    """A timm model that encodes each frame. Only ``pool="mean-difference"`` depends on time, and nothing on its direction.

    The tokens are the places of the feature maps of all frames, if the model has such maps.
    """

    def __init__(
        self, model: nn.Module, config: FramesConfig, info: Info, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__(info, mean, std)
        self.model = model
        self.seen, self.pool = config.seen, config.pool
        self.embed_dim, self._has_tokens = timm_width(model)

    @property
    def pooled_dim(self) -> int:
        """Twice the width with differences."""
        return self.embed_dim * (2 if self.pool == "mean-difference" else 1)

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """Take positions of another square lattice (bicubic)."""
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        prefix = int(getattr(self.model, "num_prefix_tokens", 0))
        if name != "model.pos_embed" or not grid or weight.ndim != 3 or weight.shape[2] != own.shape[2]:
            return None
        if math.isqrt(weight.shape[1] - prefix) ** 2 != weight.shape[1] - prefix:
            return None
        resampled: Tensor = resample_abs_pos_embed(weight, new_size=list(grid), num_prefix_tokens=prefix)
        return resampled

    def forward(self, batch: Batch) -> Encoded:
        """Encode the frames, pool each as timm's head does, then pool over time."""
        video, real = batch["video"], real_frames(batch)
        if self.seen == "middle":
            video, real = self.middle_frame(batch), None
        B, T = video.shape[:2]
        clips, frames = clip_shape(video, self.info)
        padding = None if real is None else is_padding(real.clamp(max=frames), frames).repeat(1, clips)
        features: Tensor = self.model.forward_features(self.scaled(video.flatten(0, 1)))  # type: ignore[operator]  # timm
        each: Tensor = self.model.forward_head(features, pre_logits=True)  # type: ignore[operator]  # timm: a method
        each = each.view(B, T, -1)
        pooled = mean_over_tokens(each, padding)
        if self.pool == "mean-difference":
            pooled = torch.cat([pooled, mean_over_tokens(*changes(each, clips, padding))], dim=1)
        if not self._has_tokens:
            return Encoded(pooled)
        places, grid = timm_tokens(self.model, features)
        padding = None if padding is None else padding.repeat_interleave(places.shape[1], dim=1)
        return Encoded(pooled, places.reshape(B, T * places.shape[1], -1), (T, *grid), padding)


def build_frames(config: FramesConfig, info: Info) -> FramesBackbone:
    """Build a timm model for single frames of the processor's size.

    Raises:
        UnknownIdError: timm has no such model.
        ConfigError: the model does not take this size, or its weights cannot be fetched.
        ArtifactError: the checkpoint cannot be read, or does not fit.
    """
    if not timm.is_model(config.name):
        close = difflib.get_close_matches(config.name.split(".")[0], timm.list_models(), n=3)
        hint = f" Close: {', '.join(close)}." if close else ""
        raise UnknownIdError(f"timm {timm.__version__} has no model {config.name!r}.{hint} `timm.list_models()` names all.")
    model = _create(config, int(info["image_size"]))
    known = getattr(model, "pretrained_cfg", None) or {}
    if config.checkpoint is not None:
        load_weights(model, Path(config.checkpoint), known.get("classifier") or "head")
    mean, std = tuple(known.get("mean", IMAGENET_MEAN)), tuple(known.get("std", IMAGENET_STD))
    return FramesBackbone(model, config, info, mean, std)


def _create(config: FramesConfig, image_size: int) -> Any:
    """The model, built for the image size if it has that argument."""
    reasons = []
    attempts: tuple[dict[str, Any], ...] = ({"img_size": image_size}, {})
    for kwargs in attempts:
        try:
            return timm.create_model(config.name, pretrained=config.pretrained, num_classes=0, **kwargs)
        except TypeError as error:
            reasons.append(str(error))
        except Exception as error:
            raise ConfigError(f"timm/{config.name} cannot be built for {image_size} pixels: {error}") from error
    raise ConfigError(f"timm/{config.name} cannot be built: {reasons[-1]}")


def preprocessing(config: FramesConfig) -> dict[str, Any]:
    """The size of the images that pretrained weights were made with."""
    known = timm.get_pretrained_cfg(config.name) if config.pretrained and timm.is_model(config.name) else None
    return {} if known is None else {"image_size": int(known.input_size[-1])}


RECIPE = BackboneRecipe(config=FramesConfig, build=build_frames, preprocessing=preprocessing)
"""``timm-frames/*``."""
