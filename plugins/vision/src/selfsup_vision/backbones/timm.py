"""``timm/*``: any timm model as a backbone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import timm
from pydantic import Field
from timm.models import adapt_input_conv
from torch import Tensor, nn

from selfsup.backbones import Backbone, BackboneRecipe, Encoded, Finetuning, load_weights, vision_transformer_finetuning
from selfsup.config import Config, idle
from selfsup.errors import ConfigError, UnknownIdError
from selfsup.types import Batch, Info
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD, timm_tokens, timm_width
from selfsup_vision.backbones.adoption import adopt
from selfsup_vision.backbones.base import Construction, ImageBackbone, channels_of, statistics_for
from selfsup_vision.backbones.vit import ViTBackbone, is_plain_vit
from selfsup_vision.sizes import patch_size_for

_FEWEST_TOKENS = 7
"""Fewest tokens along one side, 224 / 32; a vision transformer with fewer gets smaller patches."""


class TimmConfig(Config):
    """Options of a timm model."""

    name: str
    """A name of timm (``timm.list_models()``), perhaps with a tag of weights: ``resnet50``, ``vit_small_patch16_224.dino``."""
    pretrained: bool = False
    """Whether to start from timm's weights for this name, fetched from the network. They bring the size of the images that they
    were trained with, and the mean and deviation of each channel."""
    checkpoint: str | None = None
    """Path of a state dict with timm's names to start from (``.safetensors``, or ``.pth`` with tensors only)."""
    patch_size: int | None = Field(None, ge=1)
    """Side of a patch in pixels, for vision transformers; None: the model's own, or a smaller one for small images."""
    pool: Literal["avg", "timm"] = "avg"
    """How a plain vision transformer is pooled: mean of the patch tokens, or timm's own way (for most the class token)."""
    positions: Literal["learned", "sin-cos"] = "learned"
    """Positions of a plain vision transformer: learned, or fixed sines and cosines; weights from elsewhere keep their own."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        elsewhere = self.pretrained or self.checkpoint is not None
        return {
            **idle("backbone.checkpoint takes the place of timm's weights", self.checkpoint is not None, "pretrained"),
            **idle("weights from elsewhere keep their own positions", elsewhere, "positions"),
        }


class TimmBackbone(ImageBackbone):
    """A timm model other than a plain vision transformer; its feature map becomes the tokens."""

    def __init__(
        self,
        model: nn.Module,
        construction: Construction,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__(model, construction, mean, std)
        self.embed_dim, self._has_tokens = timm_width(model)

    def forward(self, batch: Batch) -> Encoded:
        """Pool as timm's head does."""
        features: Tensor = self.model.forward_features(self.normalized(batch))  # type: ignore[operator]  # timm: a method
        pooled: Tensor = self.model.forward_head(features, pre_logits=True)  # type: ignore[operator]  # timm: a method
        return Encoded(pooled, *timm_tokens(self.model, features)) if self._has_tokens else Encoded(pooled)

    def blocks(self) -> list[nn.Module]:
        """Those of a transformer (DeiT, BEiT, EVA, ...); empty for networks of stages."""
        blocks = getattr(self.model, "blocks", None)
        return list(blocks) if isinstance(blocks, (nn.ModuleList, nn.Sequential)) and hasattr(self.model, "patch_embed") else []

    @property
    def finetuning(self) -> Finetuning:
        """As in MAE for a transformer."""
        return vision_transformer_finetuning(self.embed_dim) if self.blocks() else Finetuning()


def build_timm(config: TimmConfig, info: Info) -> Backbone:
    """Build a timm model for the processor's image size and channels.

    Weights for RGB are adapted to other channels as in timm: summed for one channel, else repeated and scaled down.

    Raises:
        UnknownIdError: timm has no such model.
        ConfigError: an option does not suit the model, or its weights cannot be fetched.
        ArtifactError: the checkpoint cannot be read, or does not fit.
    """
    if not timm.is_model(config.name):
        close = difflib.get_close_matches(config.name.split(".")[0], timm.list_models(), n=3)
        hint = f" Close: {', '.join(close)}." if close else ""
        raise UnknownIdError(f"timm {timm.__version__} has no model {config.name!r}.{hint} `timm.list_models()` names all.")
    channels = channels_of(info)
    model, kwargs = _create(config, int(info["image_size"]), channels)
    known = getattr(model, "pretrained_cfg", None) or {}
    if config.checkpoint is not None:
        _load_checkpoint(model, config, channels, known)
    mean = statistics_for(channels, tuple(known.get("mean", IMAGENET_MEAN)))
    std = statistics_for(channels, tuple(known.get("std", IMAGENET_STD)))
    construction = Construction(config.name, {k: v for k, v in kwargs.items() if k != "dynamic_img_size"})
    if is_plain_vit(model):
        backbone = ViTBackbone(model, construction, mean, std)
        # Positions of loaded weights were learned with them.
        if config.positions == "sin-cos" and not config.pretrained and config.checkpoint is None:
            backbone.fix_positions()
        return backbone
    if config.patch_size is not None:
        raise ConfigError(f"backbone.patch_size={config.patch_size}: timm/{config.name} is no plain vision transformer.")
    if config.pool != "avg":
        raise ConfigError(
            f"backbone.pool={config.pool}: timm/{config.name} is no plain vision transformer; it pools its own way."
        )
    return TimmBackbone(model, construction, mean, std)


def _load_checkpoint(model: Any, config: TimmConfig, channels: int, known: dict[str, Any]) -> None:
    """Load a state dict of timm's names; weights for RGB are adapted to other channels as in timm."""
    path = Path(str(config.checkpoint))
    stems = [stems] if isinstance(stems := known.get("first_conv", ()), str) else list(stems or ())
    adapted = [f"{stem}.weight" for stem in stems] if channels != 3 else []

    def fit(name: str, weight: Tensor) -> Tensor:
        if name in adapted and weight.ndim == 4 and weight.shape[1] == 3:
            return adapt_input_conv(channels, weight)
        return weight

    load_weights(model, path, known.get("classifier") or "head", fit)


def _create(config: TimmConfig, image_size: int, channels: int) -> tuple[Any, dict[str, Any]]:
    """The model, and the arguments that it accepted, which differ between timm's models."""
    common = {} if channels == 3 else {"in_chans": channels}
    attempts = [{**arguments, **common} for arguments in _arguments(config, image_size)]
    for kwargs in attempts:
        try:
            model = timm.create_model(config.name, pretrained=config.pretrained, num_classes=0, **kwargs)
        except TypeError:
            if kwargs is attempts[-1]:
                raise
        except NotImplementedError as error:  # timm raises it for a stem that it cannot adapt
            raise ConfigError(
                f"backbone.pretrained=true: the weights of timm/{config.name} are for 3 channels, and timm cannot adapt them "
                f"to {channels} ({error}). Leave pretrained out, or set processor.channels=3."
            ) from error
        except (OSError, RuntimeError) as error:
            if not config.pretrained:
                raise
            raise ConfigError(
                f"backbone.pretrained=true: the weights of timm/{config.name} cannot be loaded ({error}). "
                "Without a network, give a file: backbone.checkpoint=PATH; weights with a norm behind the pooling need "
                "backbone.pool=timm."
            ) from error
        else:
            return model, kwargs
    raise AssertionError("the last attempt returns or raises")


def _arguments(config: TimmConfig, image_size: int) -> Iterator[dict[str, Any]]:
    """Arguments to try, from those of a plain vision transformer to none, which every model accepts."""
    patch = config.patch_size or _patch_size(config.name, image_size)
    if image_size % patch:
        raise ConfigError(
            f"backbone.patch_size={patch} does not divide the image size {image_size}: choose another, or processor.image_size."
        )
    size: dict[str, Any] = {"img_size": image_size}
    transformer = {**size, "patch_size": patch, "dynamic_img_size": True}
    if config.pool == "avg":
        # fc_norm=False keeps the last norm before the pooling, so that it applies to the tokens too.
        yield {**transformer, "global_pool": "avg", "fc_norm": False}
    yield transformer
    yield size
    yield {}


def _patch_size(name: str, image_size: int) -> int:
    """The model's own patch size (in its name) if it suits the image, else the default for the image."""
    found = re.search(r"patch(\d+)", name)
    own = int(found.group(1)) if found else 16
    return own if image_size % own == 0 and image_size // own >= _FEWEST_TOKENS else patch_size_for(image_size)


def preprocessing(config: TimmConfig) -> dict[str, Any]:
    """The image size and the margin with which pretrained weights are evaluated."""
    known = timm.get_pretrained_cfg(config.name) if config.pretrained and timm.is_model(config.name) else None
    if known is None:
        return {}
    return {"image_size": int(known.input_size[-1]), "margin": round(1 / known.crop_pct, 4)}


RECIPE = BackboneRecipe(config=TimmConfig, build=build_timm, preprocessing=preprocessing, adopt=adopt)
"""``timm/*``."""
