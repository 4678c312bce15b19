"""Configs of the transformers library: built from sizes and the processor's info, or read from a folder or the hub."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as _CAUSAL
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as _MASKED

from selfsup.errors import ConfigError, UnknownIdError
from selfsup.types import Info

_HUB = "hf://"
_WIDTHS = ("intermediate_size", "hidden_dim", "n_inner", "ffn_dim", "d_inner")
"""Names of the feed-forward width in configs."""
_SPECIAL = (("pad_token_id", "pad_id"), ("bos_token_id", "cls_id"), ("cls_token_id", "cls_id"), ("eos_token_id", "sep_id"),
            ("sep_token_id", "sep_id"))  # fmt: skip
_FRAME = 2
"""Class token and separator."""
_SPREADS = ("initializer_range", "init_std")
"""Names of the standard deviation of initial weights in configs."""
_BERT_SPREAD, _BERT_WIDTH = 0.02, 768


def config_class(name: str) -> type[PreTrainedConfig]:
    """The config class of a model type (``bert``, ``gpt2``).

    Raises:
        UnknownIdError: there is no such type.
    """
    if name not in CONFIG_MAPPING:
        close = difflib.get_close_matches(name, list(CONFIG_MAPPING.keys()), n=3)
        hint = f" Close: {', '.join(close)}." if close else ""
        raise UnknownIdError(f"transformers has no model type {name!r}.{hint} Give a name such as bert, roberta or gpt2.")
    found: type[PreTrainedConfig] = CONFIG_MAPPING[name]
    return found


def check_sizes(sizes: Mapping[str, Any], architecture: Mapping[str, Any]) -> None:
    """Check that options and config fields do not contradict each other.

    Raises:
        ConfigError: they do.
    """
    for field, value in sizes.items():
        if architecture.get(field, value) != value:
            raise ConfigError(
                f"backbone.architecture has {field}={architecture[field]}, but the option for it is {value}: give only one."
            )


def initial_spread(width: int) -> float:
    """Standard deviation of the initial weights of a network with ``width`` channels: 0.02 * sqrt(768 / width).

    0.02 suits the width 768 of BERT-base and GPT-2 (Devlin et al. 2018; Radford et al. 2019): a layer keeps about half of its
    input's scale. With 0.02 a layer of 128 channels would keep a fifth. Scaling by the root of the width (Glorot & Bengio 2010)
    makes all widths start like BERT-base.
    """
    return _BERT_SPREAD * math.sqrt(_BERT_WIDTH / width)


def make_config(
    name: str,
    info: Info,
    architecture: Mapping[str, Any],
    *,
    hidden_size: int | None,
    layers: int | None,
    heads: int | None,
    initializer_range: float | None = None,
) -> PreTrainedConfig:
    """Build a config for the processor's texts.

    Args:
        name: the model type.
        info: vocabulary, special ids and length of the processor.
        architecture: fields of the config under their own names; they override everything except vocabulary and dropout.
        hidden_size: width; None: the type's default. The feed-forward layer keeps its ratio to it.
        layers: None: the type's default.
        heads: None: the type's default.
        initializer_range: standard deviation of the initial weights; None: :func:`initial_spread`, or the type's default if
            it is not BERT's 0.02.

    Raises:
        UnknownIdError: there is no such model type.
        ConfigError: a field is not allowed, or the type is not for texts.
    """
    kind = config_class(name)
    if text := kind.sub_configs.get("text_config"):
        inner = getattr(text, "model_type", "")
        hint = f": use its text model, transformers/{inner}." if inner else "."
        raise ConfigError(f"transformers/{name} consists of several models ({', '.join(kind.sub_configs)}){hint}")
    try:
        default = kind()
    except Exception as error:  # the library's strict configs raise errors of their own
        raise ConfigError(f"transformers/{name} has no default config: {error}") from error
    if not isinstance(getattr(default, "hidden_size", None), int):
        raise ConfigError(f"transformers/{name} is not a text model: its config has no hidden_size.")
    names = kind.attribute_map
    sizes = {"hidden_size": hidden_size, "num_hidden_layers": layers, "num_attention_heads": heads}
    values: dict[str, Any] = {names.get(field, field): value for field, value in sizes.items() if value is not None}
    check_sizes(values, architecture)
    width = next((field for field in _WIDTHS if isinstance(getattr(default, field, None), int)), None)
    if hidden_size is not None and width is not None:
        values[names.get(width, width)] = round(getattr(default, width) / default.hidden_size * hidden_size)
    if hasattr(default, "embedding_size"):
        # Words as wide as the layers: mask tokens replace words.
        values["embedding_size"] = hidden_size or default.hidden_size
    if heads is not None and isinstance(getattr(default, "num_key_value_heads", None), int):
        values["num_key_value_heads"] = heads
    # RoBERTa counts positions from pad_id + 1, MPNet from 2; others then have spare rows.
    positions = int(info["max_length"]) + _FRAME + max(int(info["pad_id"]), 1) + 1
    if "max_position_embeddings" not in architecture and getattr(default, "max_position_embeddings", 1) != -1:  # XLNet
        values[names.get("max_position_embeddings", "max_position_embeddings")] = positions
    spread = next((field for field in _SPREADS if isinstance(getattr(default, field, None), float)), None)
    if spread is not None and initializer_range is not None:
        values[names.get(spread, spread)] = initializer_range
    elif spread is not None and getattr(default, spread) == _BERT_SPREAD:
        channels = architecture.get(names.get("hidden_size", "hidden_size"), hidden_size or default.hidden_size)
        if isinstance(channels, int):
            values[names.get(spread, spread)] = initial_spread(channels)
    if name in _CAUSAL and name not in _MASKED and getattr(default, "is_decoder", None) is False:
        values["is_decoder"] = True  # bert-generation attends to later tokens by default
    values |= architecture
    # A pretrained model may have more words than its tokenizer, to round the number.
    values |= {"vocab_size": max(int(info["vocab_size"]), int(architecture.get("vocab_size", 0)))}
    # Some configs of early library versions need a padding id.
    values |= {field: int(info[key]) for field, key in _SPECIAL if field == "pad_token_id" or hasattr(default, field)}
    values |= no_dropout(default)
    try:
        return kind(**values)
    except Exception as error:  # the library's strict configs raise errors of their own
        raise ConfigError(f"transformers/{name} does not take these sizes: {error}") from error


def no_dropout(config: PreTrainedConfig) -> dict[str, float]:
    """All dropout rates of a config, set to 0: dropout comes from the views."""
    fields = config.to_dict()
    return {
        name: 0.0
        for name, value in fields.items()
        if ("drop" in name or name == "dropout") and isinstance(value, int | float) and not isinstance(value, bool)
    }


def read_architecture(source: str) -> dict[str, Any]:
    """The config fields in a folder or on the hub that differ from the defaults, and ``model_type``.

    Raises:
        ConfigError: there is no such config.
    """
    config = read_config(source)
    described = json.loads(config.to_json_string(use_diff=True))
    dropped = ("transformers_version", "dtype", "torch_dtype", "architectures", "_name_or_path", *no_dropout(config))
    return {"vocab_size": config.vocab_size} | {key: value for key, value in described.items() if key not in dropped}


def read_config(source: str) -> PreTrainedConfig:
    """Read the config in a folder or of a model on the hub (``hf://owner/name``). No code of the model is run.

    Raises:
        ConfigError: it is missing or cannot be fetched.
    """
    where, local = place(source)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(where, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"backbone.pretrained={source} cannot be read: {error}") from error
    return config


def place(source: str) -> tuple[str, bool]:
    """The name for the transformers library, and whether it is a local folder.

    Raises:
        ConfigError: it is neither a folder nor ``hf://owner/name``.
    """
    if source.startswith(_HUB):
        return source.removeprefix(_HUB), False
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{source} is not a folder. Give a folder with a model of transformers, or hf://owner/name.")
    if (folder / "run.json").exists() or (folder / "processor").is_dir():
        raise ConfigError(
            f"{source} is a folder of selfsup, not of transformers. Export it first: "
            f"selfsup export {source} --format transformers --out FOLDER, then backbone.pretrained=FOLDER."
        )
    return str(folder), True


def check_single(config: PreTrainedConfig) -> None:
    """Check that a model is an encoder or a decoder, but not both.

    Raises:
        ConfigError: it is both.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(f"transformers/{config.model_type} has an encoder and a decoder; use a model with only one of them.")


def language_model(config: PreTrainedConfig) -> Literal["masked", "causal"] | None:
    """The kind of language model that the library has for a config; None: no language model."""
    name = config.model_type
    if name in _CAUSAL and (name not in _MASKED or getattr(config, "is_decoder", False)):
        return "causal"
    return "masked" if name in _MASKED else None
