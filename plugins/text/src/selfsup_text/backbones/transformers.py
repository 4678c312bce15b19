"""``transformers/*``: any encoder or decoder of the transformers library, from its config or from pretrained weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel

from selfsup.backbones import BackboneRecipe
from selfsup.config import Config
from selfsup.errors import ConfigError, SelfsupError
from selfsup.types import Info
from selfsup_text.backbones.architecture import (
    check_single,
    language_model,
    make_config,
    no_dropout,
    place,
    read_architecture,
    read_config,
)
from selfsup_text.backbones.checks import check_backbone, measured_causal
from selfsup_text.backbones.language_head import split
from selfsup_text.backbones.network import TransformersBackbone, without_progress
from selfsup_text.backbones.pooling import Pooling

_AUTO: dict[str, Any] = {"masked": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}


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
    initializer_range: float | None = Field(None, gt=0)
    """Standard deviation of the first weights; None: 0.02 * sqrt(768 / width), which is 0.02 for BERT-base, or what the model
    type has if it is another than 0.02."""
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
    """Build a model for the processor's vocabulary and length, and check that it does what is asked of a text backbone.

    Raises:
        UnknownIdError: the library has no such model type.
        ConfigError: an option does not suit the model, the pretrained one cannot be read, or the model type fails a check.
    """
    headless = True
    if config.pretrained is not None:
        model, headless = _pretrained(config, config.pretrained, info)
    else:
        fields = {key: value for key, value in config.architecture.items() if key != "model_type"}
        sizes = {"hidden_size": config.hidden_size, "layers": config.layers, "heads": config.heads}
        model = build_model(make_config(config.name, info, fields, **sizes, initializer_range=config.initializer_range))
    backbone = assemble(model, info, pooling=config.pooling or "mean", headless=headless)
    check_backbone(backbone, info)
    return backbone


def assemble(
    model: PreTrainedModel, info: Info, *, pooling: Pooling, causal: bool | None = None, headless: bool = True
) -> TransformersBackbone:
    """The backbone of a model.

    Args:
        model: with or without the head of a language model.
        info: of the processor.
        pooling: how the tokens become one embedding.
        causal: whether it is a decoder; None: it is tried.
        headless: whether the head, if there is one, has fresh weights.

    Raises:
        ConfigError: the model type does not fit.
    """
    parts = split(model)
    network, head = parts or (model, None)
    _free_padding(network, info)
    if causal is None:
        causal = measured_causal(network, wanted=language_model(network.config))
    return TransformersBackbone(network, info, causal=causal, pooling=pooling, head=head, head_is_fresh=headless)


def build_model(architecture: Any) -> PreTrainedModel:
    """A model with fresh weights: a language model, or where the library has none a plain one.

    Raises:
        ConfigError: the library has no model of texts for this config, or it refuses the sizes.
    """
    check_single(architecture)
    kind = language_model(architecture)
    try:
        plain = partial(_without_pooler, AutoModel.from_config)
        model: PreTrainedModel = (plain if kind is None else _AUTO[kind].from_config)(architecture)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"transformers/{architecture.model_type} cannot be built: {error}") from error
    return model


def _without_pooler(make: Any, *arguments: Any, **options: Any) -> Any:
    """A plain model without the pooler that BERT's kin have, and that nothing would train."""
    try:
        return make(*arguments, **options, add_pooling_layer=False)
    except TypeError:  # it has none
        return make(*arguments, **options)


def _free_padding(network: PreTrainedModel, info: Info) -> None:
    """Let the separator learn where it also stands for padding, as in decoders without a padding token."""
    if info["pad_id"] not in (info["cls_id"], info["sep_id"]):
        return
    embeddings = network.get_input_embeddings()
    if isinstance(embeddings, nn.Embedding):
        if embeddings.padding_idx is not None and not bool(embeddings.weight[embeddings.padding_idx].any()):
            with torch.no_grad():
                embeddings.weight[embeddings.padding_idx].normal_(std=float(embeddings.weight.std()))
        embeddings.padding_idx = None


def _pretrained(config: TransformersConfig, source: str, info: Info) -> tuple[PreTrainedModel, bool]:
    """A pretrained model, and whether it came without a head, so that the head is fresh."""
    own = {name: getattr(config, name) for name in ("hidden_size", "layers", "heads", "initializer_range")}
    if given := [name for name, value in own.items() if value is not None]:
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
    model, headless = _read_weights(found, source)
    wanted, have = int(info["vocab_size"]), int(model.config.vocab_size)
    if wanted < have - 1024:
        raise ConfigError(
            f"{source} has {have} words, and the processor's tokenizer {wanted}: their ids do not mean the same. "
            f"Take the model's own tokenizer: processor.tokenizer={source}."
        )
    if wanted > have:
        model.resize_token_embeddings(wanted)
    model.to(torch.float32)  # type: ignore[arg-type]  # typed there for devices alone
    return model, headless


def _read_weights(found: Any, source: str) -> tuple[PreTrainedModel, bool]:
    check_single(found)
    where, local = place(source)
    kind = language_model(found)
    options = {"local_files_only": local, "use_safetensors": True, "output_loading_info": True, **no_dropout(found)}
    try:
        with without_progress():
            if kind is None:
                model, report = _without_pooler(AutoModel.from_pretrained, where, **options)
            else:
                model, report = _AUTO[kind].from_pretrained(where, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"backbone.pretrained={source}: the weights cannot be read ({error}).") from error
    prefix = f"{model.base_model_prefix}."
    fresh = [name for name in report["missing_keys"] if not name.startswith(prefix)]
    return model, bool(fresh)


RECIPE = BackboneRecipe(config=TransformersConfig, build=build_transformers)
"""``transformers/*``."""
