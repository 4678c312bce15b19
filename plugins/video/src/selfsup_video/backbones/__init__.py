"""Backbones for videos: 3-D convolutional networks, transformers on tubelets, networks of single frames."""

from selfsup_video.backbones.base import ConvBackbone, VideoBackbone
from selfsup_video.backbones.vit import VideoViT

__all__ = ["ConvBackbone", "VideoBackbone", "VideoViT"]
