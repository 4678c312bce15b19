"""Networks for images, all made of timm's modules."""

from selfsup_vision.backbones.base import Construction, ImageBackbone
from selfsup_vision.backbones.timm import TimmBackbone
from selfsup_vision.backbones.vit import ViTBackbone

__all__ = ["Construction", "ImageBackbone", "TimmBackbone", "ViTBackbone"]
