"""``transformers/*``: any encoder or decoder of the transformers library, from its config or from pretrained weights."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from pydantic import Field, model_validator
from transformers import AutoModel, PreTrainedModel

from selfsup.backbones import BackboneRecipe
from selfsup.config import Config
from selfsup.errors import ConfigError, SelfsupError
from selfsup.types import Info
from selfsup_text.backbones.architecture import is_causal, make_config, no_dropout, place, read_architecture, read_config
from selfsup_text.backbones.network import TransformersBackbone
from selfsup_text.backbones.pooling import Pooling


class TransformersConfig(Config):
    """Options of a model of the transformers library."""

    name: str
    """The library's model type: ``bert``, ``roberta``, ``modernbert``, ``distilbert``, ``gpt2``, ``llama``, ..."""
    hidden_size: int | None = Field(None, ge=4)
    """Width D of the layers; None: the model type's own (768 for BERT)."""
    layers: int | None = Field(None, ge=1)
    """Number of layers; None: the model type's own (12 for BERT)."""
    heads: int | None = Field(None, ge=1)
    """Attention heads, a divisor of the width; None: the model type's own (12 for BERT)."""
    pooling: Pooling | None = None
    """How tokens become an embedding: ``mean``, ``cls`` (``last`` for decoders), ``max``, ``mean+max``; None: the mean."""
    pretrained: str | None = None
    """Folder, or ``hf://owner/name``, of a model of this type to start from; only safetensors are read."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the model's config, under the library's names; filled in from ``pretrained``."""

    @model_validator(mode="before")
    @classmethod
    def _described(cls, values: Any) -> Any:
        """Keep what the pretrained model is like, so that its encoder can be loaded where that folder is not."""
        if not isinstance(values, dict) or not values.get("pretrained") or values.get("architecture"):
            return values
        try:
            described = read_architecture(str(values["pretrained"]))
        except SelfsupError as error:
            raise ValueError(str(error)) from error
        return {**values, "architecture": described}


def build_transformers(config: TransformersConfig, info: Info) -> TransformersBackbone:
    """Build a model for the processor's vocabulary and length.

    Raises:
        UnknownIdError: the library has no such model type.
        ConfigError: an option does not suit the model, or the pretrained one cannot be read.
    """
    if config.pretrained is not None:
        model = _pretrained(config, config.pretrained, info)
    else:
        fields = {key: value for key, value in config.architecture.items() if key != "model_type"}
        model = build_model(
            make_config(config.name, info, fields, hidden_size=config.hidden_size, layers=config.layers, heads=config.heads)
        )
    return TransformersBackbone(model, info, causal=is_causal(config.name), pooling=config.pooling or "mean")


def build_model(architecture: Any) -> PreTrainedModel:
    """A model with fresh weights, without the pooler that nothing would train.

    Raises:
        ConfigError: the library has no model without a head for this config, or it refuses the sizes.
    """
    kind = _model_class(architecture)
    arguments = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
    try:
        model: PreTrainedModel = kind._from_config(architecture, **arguments)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"transformers/{architecture.model_type} cannot be built: {error}") from error
    return model


def _model_class(architecture: Any) -> Any:
    try:
        return AutoModel._model_mapping[type(architecture)]
    except KeyError:
        raise ConfigError(f"transformers/{architecture.model_type} has no plain model of texts.") from None


def _pretrained(config: TransformersConfig, source: str, info: Info) -> PreTrainedModel:
    sizes = {"hidden_size": config.hidden_size, "layers": config.layers, "heads": config.heads}
    if given := [name for name, value in sizes.items() if value is not None]:
        raise ConfigError(f"backbone.{given[0]} cannot be chosen beside backbone.pretrained, whose model has its own.")
    found = read_config(source)
    if found.model_type != config.name:
        raise ConfigError(
            f"{source} holds a model of type {found.model_type}: take the backbone transformers/{found.model_type}."
        )
    if "model_type" not in config.architecture:  # what is filled in from the model names its type
        raise ConfigError(
            f"backbone.architecture cannot be chosen beside backbone.pretrained: {source} has its own. Leave it out."
        )
    where, local = place(source)
    kind = _model_class(found)
    arguments = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
    try:
        model: PreTrainedModel = kind.from_pretrained(
            where, local_files_only=local, use_safetensors=True, **no_dropout(found), **arguments
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"backbone.pretrained={source}: the weights cannot be had ({error}).") from error
    wanted = int(info["vocab_size"])
    if wanted != model.config.vocab_size:
        have = int(model.config.vocab_size)
        if wanted < have - 1024:
            raise ConfigError(
                f"{source} has {have} words, and the processor's tokenizer {wanted}: their ids do not mean the same. "
                f"Take the model's own tokenizer: processor.tokenizer={source}."
            )
        model.resize_token_embeddings(wanted)
    model.to(torch.float32)  # type: ignore[arg-type]  # typed there for devices alone
    return model


RECIPE = BackboneRecipe(config=TransformersConfig, build=build_transformers)
"""``transformers/*``."""
