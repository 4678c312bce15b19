"""The backbones ``transformers/*``: any encoder or decoder of the library, from a config or from pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from selfsup.backbones import Adopted, BackboneRecipe
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
from selfsup_text.config import TextProcessorConfig
from selfsup_text.tokenization import load_vocabulary

_ROUND, _ADDED = 1024, 64
"""How many words a model may have more than its tokenizer (rounding), and fewer (tokens added later)."""
_AUTO: dict[str, Any] = {"masked": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}


class TransformersConfig(Config):
    """Options of a model of the transformers library."""

    name: str
    """The library's model type: ``bert``, ``roberta``, ``modernbert``, ``distilbert``, ``gpt2``, ``llama``, ..."""
    hidden_size: int | None = Field(None, ge=4)
    """Width D of the layers; None: the model type's default (768 for BERT)."""
    layers: int | None = Field(None, ge=1)
    """Number of layers; None: the model type's default (12 for BERT)."""
    heads: int | None = Field(None, ge=1)
    """Attention heads, a divisor of the width; None: the model type's default (12 for BERT)."""
    initializer_range: float | None = Field(None, gt=0)
    """Standard deviation of the initial weights; None: 0.02 * sqrt(768 / width), 0.02 for BERT-base, or the model type's
    default if that is not 0.02."""
    pooling: Pooling | None = None
    """How tokens become an embedding: ``mean``, ``cls`` (``last`` for decoders), ``max``, ``mean+max``; None: the mean."""
    pretrained: str | None = None
    """Folder, or ``hf://owner/name``, of a model of this type to start from; only safetensors are read. Its tokenizer is used,
    too; ``processor.tokenizer`` chooses another one, whose words get new vectors."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the model's config, under the library's names; set automatically with ``pretrained``."""

    @model_validator(mode="before")
    @classmethod
    def _described(cls, values: Any) -> Any:
        """Store the pretrained model's config, so that the encoder loads without that folder."""
        if not isinstance(values, dict) or not values.get("pretrained") or values.get("architecture"):
            return values
        try:
            described = read_architecture(str(values["pretrained"]))
        except SelfsupError as error:
            raise ValueError(str(error)) from error
        return {**values, "architecture": described}


def build_transformers(config: TransformersConfig, info: Info) -> TransformersBackbone:
    """Build a model for the processor's vocabulary and length, and check that it works as a text backbone.

    Raises:
        UnknownIdError: the library has no such model type.
        ConfigError: an option does not suit the model, the pretrained one cannot be read, or the model type fails a check.
    """
    headless, new_words = True, False
    if config.pretrained is not None:
        model, headless, new_words = _pretrained(config, config.pretrained, info)
    else:
        fields = {key: value for key, value in config.architecture.items() if key != "model_type"}
        sizes = {"hidden_size": config.hidden_size, "layers": config.layers, "heads": config.heads}
        model = build_model(make_config(config.name, info, fields, **sizes, initializer_range=config.initializer_range))
    backbone = assemble(model, info, pooling=config.pooling or "mean", headless=headless)
    backbone.words_are_new = new_words
    check_backbone(backbone, info)
    return backbone


def assemble(
    model: PreTrainedModel, info: Info, *, pooling: Pooling, causal: bool | None = None, headless: bool = True
) -> TransformersBackbone:
    """Make a backbone of a model.

    Args:
        model: with or without the head of a language model.
        info: of the processor.
        pooling: how tokens become one embedding.
        causal: whether it is a decoder; None: find out.
        headless: whether the head, if any, has new weights.

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
    """Build a model with new weights: a language model, or a plain model if the library has none.

    Raises:
        ConfigError: the library has no text model for this config, or rejects the sizes.
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
    """A plain model without the pooler of BERT-like models, which nothing would train."""
    try:
        return make(*arguments, **options, add_pooling_layer=False)
    except TypeError:  # the model has no pooler
        return make(*arguments, **options)


def _free_padding(network: PreTrainedModel, info: Info) -> None:
    """Let the separator learn if it is also the padding, as in decoders without a padding token."""
    if info["pad_id"] not in (info["cls_id"], info["sep_id"]):
        return
    embeddings = network.get_input_embeddings()
    if isinstance(embeddings, nn.Embedding):
        if embeddings.padding_idx is not None and not bool(embeddings.weight[embeddings.padding_idx].any()):
            with torch.no_grad():
                embeddings.weight[embeddings.padding_idx].normal_(std=float(embeddings.weight.std()))
        embeddings.padding_idx = None


def _pretrained(config: TransformersConfig, source: str, info: Info) -> tuple[PreTrainedModel, bool, bool]:
    """Load a pretrained model; also returns whether its head is new (missing, or new words), and whether its words are."""
    own = {name: getattr(config, name) for name in ("hidden_size", "layers", "heads", "initializer_range")}
    if given := [name for name, value in own.items() if value is not None]:
        raise ConfigError(f"backbone.{given[0]} cannot be combined with backbone.pretrained, whose model fixes it.")
    found = read_config(source)
    if found.model_type != config.name:
        raise ConfigError(
            f"{source} holds a model of type {found.model_type}: use the backbone transformers/{found.model_type}."
        )
    if "model_type" not in config.architecture:  # automatic values include the type
        raise ConfigError(
            f"backbone.architecture cannot be combined with backbone.pretrained, whose config is in {source}. Leave it out."
        )
    model, headless = _read_weights(found, source)
    model.to(torch.float32)  # type: ignore[arg-type]  # typed there for devices alone
    wanted, have = int(info["vocab_size"]), int(model.config.vocab_size)
    other = _is_other_vocabulary(source, have, info)
    if wanted > have:
        with without_progress():
            model.resize_token_embeddings(wanted, mean_resizing=not other)
    if other:
        _draw_words(model, source, info)
    return model, headless or other, other


def _is_other_vocabulary(source: str, have: int, info: Info) -> bool:
    """Whether the processor's tokenizer differs from the one that a model was trained with.

    Raises:
        ConfigError: the model has no tokenizer, and the given one has another number of words.
    """
    given = info.get("vocabulary")
    try:
        own = load_vocabulary(source).digest()
    except ConfigError:  # it has none
        wanted = int(info["vocab_size"])
        if info.get("tokenizer", "loaded") != "loaded":
            return True
        if have - _ROUND <= wanted <= have + _ADDED:
            return False
        raise ConfigError(
            f"{source} has {have} words and no tokenizer of its own, but the given one has {wanted}: their ids differ in "
            "meaning. Give the tokenizer that it was trained with (--set processor.tokenizer=FOLDER), or train one on the rows "
            "(--set processor.tokenizer=wordpiece): all word vectors are then new."
        ) from None
    return given is not None and given != own


def _draw_words(model: PreTrainedModel, source: str, info: Info) -> None:
    """Give all words of a model new vectors with the same standard deviation.

    Raises:
        ConfigError: it counts positions from the id of its padding, which the tokenizer has elsewhere.
    """
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    own, pad = embeddings.padding_idx, int(info["pad_id"])
    if own is not None and own != pad:
        raise ConfigError(
            f"{source} has its padding at the id {own}, but the given tokenizer at {pad}. Use the model's own tokenizer "
            f"(--set processor.tokenizer={source})."
        )
    with torch.no_grad():
        embeddings.weight.normal_(std=float(embeddings.weight.std()))
        if own is not None:
            embeddings.weight[own].zero_()


def preprocessing(config: TransformersConfig) -> dict[str, Any]:
    """The tokenizer of a pretrained model, and its maximal length if that is below the default."""
    if config.pretrained is None:
        return {}
    found: Any = read_config(config.pretrained)
    options: dict[str, Any] = {"tokenizer": config.pretrained}
    positions = getattr(found, "max_position_embeddings", None)
    usual = TextProcessorConfig().max_length
    # Two for class token and separator; some models count positions from after the id of their padding.
    room = (
        usual
        if not isinstance(positions, int) or positions < 0
        else positions - 3 - (getattr(found, "pad_token_id", None) or 0)
    )
    return options | ({"max_length": room} if room < usual else {})


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


def adopt(source: str, described: Mapping[str, Any]) -> Adopted | None:
    """The backbone that starts from a model of the transformers library; None if it is not a text model.

    Args:
        source: folder, or ``hf://owner/name``.
        described: its ``config.json``.
    """
    name = described.get("model_type")
    if not isinstance(name, str) or not (
        name in MODEL_FOR_MASKED_LM_MAPPING_NAMES or name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    ):
        return None
    return Adopted(f"transformers/{name}", {"pretrained": source})


RECIPE = BackboneRecipe(config=TransformersConfig, build=build_transformers, preprocessing=preprocessing, adopt=adopt)
