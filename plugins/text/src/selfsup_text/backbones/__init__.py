"""Networks for texts, all of them models of the transformers library."""

from selfsup_text.backbones.base import TextBackbone, TextTokens
from selfsup_text.backbones.network import TransformersBackbone
from selfsup_text.backbones.pooling import Pooling

__all__ = ["Pooling", "TextBackbone", "TextTokens", "TransformersBackbone"]
