"""Small backbones for small images and for CPUs, made of timm's modules."""

from __future__ import annotations

from typing import Any, Literal, cast

import timm
from pydantic import Field
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from selfsup.backbones import BackboneRecipe
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.types import Info
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD
from selfsup_vision.backbones.base import Construction, channels_of, statistics_for
from selfsup_vision.backbones.timm import TimmBackbone
from selfsup_vision.backbones.vit import ViTBackbone
from selfsup_vision.sizes import patch_size_for


class CifarResNetConfig(Config):
    """Options of ``resnet18-cifar``; it has none."""


class NarrowResNetConfig(Config):
    """Options of ``resnet-narrow``."""

    width: int = Field(32, ge=4, le=512)
    """Channels of the first stage, doubled by each of the three that follow; 64 in ResNet-18."""
    blocks: int = Field(1, ge=1, le=16)
    """Residual blocks in each of the four stages; 2 in ResNet-18."""


class TinyViTConfig(Config):
    """Options of ``vit-tiny``: width and heads of DeiT-Ti (Touvron et al. 2020, arXiv:2012.12877), half its depth."""

    patch_size: int | None = Field(None, ge=1)
    """Side of a patch in pixels; None: 2 up to 16 pixels, 4 up to 64, 8 up to 128, else 16."""
    embed_dim: int = Field(192, ge=16, le=4096)
    """Width D of the tokens; 192 in DeiT-Ti."""
    depth: int = Field(6, ge=1, le=64)
    """Blocks; 12 in DeiT-Ti."""
    heads: int = Field(3, ge=1)
    """Attention heads, a divisor of the width; 3 in DeiT-Ti."""
    positions: Literal["learned", "sin-cos"] = "learned"
    """Position embeddings: learned, as in DeiT, or fixed sines and cosines, as in MoCo v3 and MAE."""


def build_cifar_resnet(config: CifarResNetConfig, info: Info) -> TimmBackbone:
    """ResNet-18 with a 3x3 stem of stride 1 and no max-pooling: SimCLR's for CIFAR-10 (arXiv:2002.05709, appendix B.9)."""
    return _resnet(64, 2, channels_of(info), stride=1, pool=False)


def build_narrow_resnet(config: NarrowResNetConfig, info: Info) -> TimmBackbone:
    """A ResNet of basic blocks whose stem depends on the image size: a 3x3 convolution that keeps the size of images up to 64
    pixels, halves that of images up to 128, and quarters that of larger ones (with max-pooling)."""
    size = int(info["image_size"])
    return _resnet(config.width, config.blocks, channels_of(info), stride=1 if size <= 64 else 2, pool=size > 128)


def _resnet(width: int, blocks: int, image_channels: int, *, stride: int, pool: bool) -> TimmBackbone:
    """timm's ResNet with another stem; blocks, initialisation and names are timm's."""
    # timm uses stem_width only with stem_type="deep"; it gives the first stage ``width`` input channels.
    channels = tuple(width * 2**i for i in range(4))
    layers = (blocks,) * 4
    # With residual branches that start at zero, so shallow a network would be a stack of 1x1 shortcuts, which hardly learns in
    # its first hundred steps.
    kwargs: dict[str, Any] = {
        "layers": layers, "channels": channels, "stem_type": "deep", "stem_width": width // 2, "zero_init_last": False,
    }  # fmt: skip
    if image_channels != 3:
        kwargs["in_chans"] = image_channels
    model: Any = ResNet(cast(Any, BasicBlock), num_classes=0, **kwargs)
    model.conv1 = nn.Conv2d(image_channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    changes = [f"model.conv1 = torch.nn.Conv2d({image_channels}, {width}, 3, stride={stride}, padding=1, bias=False)"]
    if not pool:
        model.maxpool = nn.Identity()
        changes.append("model.maxpool = torch.nn.Identity()")
    mean, std = (statistics_for(image_channels, colors) for colors in (IMAGENET_MEAN, IMAGENET_STD))
    return TimmBackbone(model, Construction("resnet18", kwargs, tuple(changes)), mean, std)


def build_tiny_vit(config: TinyViTConfig, info: Info) -> ViTBackbone:
    """A small vision transformer without class token, pooled by the mean of its tokens.

    Raises:
        ConfigError: the patch size does not divide the image, or the heads the width.
    """
    size = int(info["image_size"])
    patch = config.patch_size or patch_size_for(size)
    if size % patch:
        raise ConfigError(
            f"backbone.patch_size={patch} does not divide the image size {size}: choose another, or processor.image_size."
        )
    if config.embed_dim % config.heads:
        raise ConfigError(f"backbone.heads={config.heads} does not divide backbone.embed_dim={config.embed_dim}.")
    kwargs: dict[str, Any] = {
        "img_size": size, "patch_size": patch, "embed_dim": config.embed_dim, "depth": config.depth, "num_heads": config.heads,
        "class_token": False, "global_pool": "avg", "fc_norm": False,
    }  # fmt: skip
    if (channels := channels_of(info)) != 3:
        kwargs["in_chans"] = channels
    name = "vit_tiny_patch16_224"
    model = timm.create_model(name, num_classes=0, dynamic_img_size=True, **kwargs)
    mean, std = (statistics_for(channels, colors) for colors in (IMAGENET_MEAN, IMAGENET_STD))
    backbone = ViTBackbone(cast(Any, model), Construction(name, kwargs), mean, std)
    if config.positions == "sin-cos":
        backbone.fix_positions()
    return backbone


CIFAR_RESNET = BackboneRecipe(config=CifarResNetConfig, build=build_cifar_resnet)
"""``resnet18-cifar``."""
NARROW_RESNET = BackboneRecipe(config=NarrowResNetConfig, build=build_narrow_resnet)
"""``resnet-narrow``."""
TINY_VIT = BackboneRecipe(config=TinyViTConfig, build=build_tiny_vit)
"""``vit-tiny``."""
