"""Small text backbones for CPUs: a BERT and a GPT-2."""

from __future__ import annotations

from functools import partial

from pydantic import Field

from selfsup.backbones import BackboneRecipe
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.types import Info
from selfsup_text.backbones.architecture import make_config
from selfsup_text.backbones.network import TransformersBackbone
from selfsup_text.backbones.pooling import Pooling
from selfsup_text.backbones.transformers import assemble, build_model


class SmallEncoderConfig(Config):
    """Options of ``text-encoder-small``: BERT's layers (Devlin et al. 2018, arXiv:1810.04805), but few and narrow."""

    hidden_size: int = Field(128, ge=4, le=4096)
    """Width D; 768 in BERT-base, 128 in its smallest (Turc et al. 2019, arXiv:1908.08962)."""
    layers: int = Field(2, ge=1, le=48)
    """Layers; 12 in BERT-base, 2 in its smallest."""
    heads: int = Field(2, ge=1)
    """Attention heads, a divisor of the width; 12 in BERT-base, 2 in its smallest."""
    initializer_range: float | None = Field(None, gt=0)
    """Standard deviation of the initial weights; None: 0.02 * sqrt(768 / width), 0.049 at 128; 0.02 in BERT with width 768."""
    pooling: Pooling = "mean"
    """How tokens become an embedding: ``mean``, ``cls``, ``max`` or ``mean+max``; the class token's output in BERT."""


class SmallDecoderConfig(Config):
    """Options of ``text-decoder-small``: GPT-2's layers (Radford et al. 2019), but few and narrow."""

    hidden_size: int = Field(128, ge=4, le=4096)
    """Width D; 768 in the smallest GPT-2."""
    layers: int = Field(2, ge=1, le=48)
    """Layers; 12 in the smallest GPT-2."""
    heads: int = Field(2, ge=1)
    """Attention heads, a divisor of the width; 12 in the smallest GPT-2."""
    initializer_range: float | None = Field(None, gt=0)
    """Standard deviation of the initial weights; None: 0.02 * sqrt(768 / width), 0.049 at 128; 0.02 in GPT-2 with width
    768."""
    pooling: Pooling = "mean"
    """How tokens become an embedding: ``mean``, ``last``, ``max`` or ``mean+max``; the last token's output in GPT."""


def _build(name: str, config: SmallEncoderConfig | SmallDecoderConfig, info: Info) -> TransformersBackbone:
    if config.hidden_size % config.heads:
        raise ConfigError(f"backbone.heads={config.heads} does not divide backbone.hidden_size={config.hidden_size}.")
    sizes = {"hidden_size": config.hidden_size, "layers": config.layers, "heads": config.heads}
    architecture = make_config(name, info, {}, **sizes, initializer_range=config.initializer_range)
    return assemble(build_model(architecture), info, pooling=config.pooling, causal=name == "gpt2")


ENCODER = BackboneRecipe(config=SmallEncoderConfig, build=partial(_build, "bert"))
"""``text-encoder-small``: a small BERT without a pooler."""
DECODER = BackboneRecipe(config=SmallDecoderConfig, build=partial(_build, "gpt2"))
"""``text-decoder-small``: a small GPT-2."""
