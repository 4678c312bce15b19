"""Backbones for texts: models of the transformers library, and word vectors."""

from selfsup_text.backbones.base import TextBackbone, TextTokens
from selfsup_text.backbones.network import TransformersBackbone
from selfsup_text.backbones.pooling import Pooling

__all__ = ["Pooling", "TextBackbone", "TextTokens", "TransformersBackbone"]
