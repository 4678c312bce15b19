"""Configs of the transformers library: made from sizes and from what the processor says, or read from a folder or the hub."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from selfsup.errors import ConfigError, UnknownIdError
from selfsup.types import Info

_HUB = "hf://"
_WIDTHS = ("intermediate_size", "hidden_dim", "n_inner", "ffn_dim", "d_inner")
"""What configs call the width of the feed-forward layer."""
_SPECIAL = (("pad_token_id", "pad_id"), ("bos_token_id", "cls_id"), ("cls_token_id", "cls_id"), ("eos_token_id", "sep_id"),
            ("sep_token_id", "sep_id"))  # fmt: skip
_FRAME = 2
"""Tokens around the content."""


def config_class(name: str) -> type[PreTrainedConfig]:
    """The config class of a model type (``bert``, ``gpt2``).

    Raises:
        UnknownIdError: there is none.
    """
    if name not in CONFIG_MAPPING:
        close = difflib.get_close_matches(name, list(CONFIG_MAPPING.keys()), n=3)
        hint = f" Close: {', '.join(close)}." if close else ""
        raise UnknownIdError(f"transformers has no model type {name!r}.{hint} A name such as bert, roberta or gpt2 is wanted.")
    found: type[PreTrainedConfig] = CONFIG_MAPPING[name]
    return found


def make_config(
    name: str, info: Info, architecture: Mapping[str, Any], *, hidden_size: int | None, layers: int | None, heads: int | None
) -> PreTrainedConfig:
    """A config for texts of this processor.

    Args:
        name: the model type.
        info: vocabulary, special ids and length of the processor.
        architecture: fields of the config under their own names; they go before everything else but vocabulary and dropout.
        hidden_size: width; None: the config's own. The feed-forward layer keeps its proportion to it.
        layers: None: the config's own.
        heads: None: the config's own.

    Raises:
        UnknownIdError: there is no such model type.
        ConfigError: a field is not allowed.
    """
    kind = config_class(name)
    default = kind()
    names = kind.attribute_map
    values: dict[str, Any] = {}
    for field, value in (("hidden_size", hidden_size), ("num_hidden_layers", layers), ("num_attention_heads", heads)):
        if value is not None:
            values[names.get(field, field)] = value
    width = next((field for field in _WIDTHS if isinstance(getattr(default, field, None), int)), None)
    if hidden_size is not None and width is not None:
        values[names.get(width, width)] = round(getattr(default, width) / default.hidden_size * hidden_size)
    if hasattr(default, "embedding_size"):
        # Words as wide as the layers: mask tokens are put in the place of words.
        values["embedding_size"] = hidden_size or default.hidden_size
    if heads is not None and isinstance(getattr(default, "num_key_value_heads", None), int):
        values["num_key_value_heads"] = heads
    # RoBERTa counts positions from pad_id + 1 on, MPNet from 2; others have rows to spare then.
    positions = int(info["max_length"]) + _FRAME + max(int(info["pad_id"]), 1) + 1
    if "max_position_embeddings" not in architecture:
        values[names.get("max_position_embeddings", "max_position_embeddings")] = positions
    values |= architecture
    values |= {"vocab_size": int(info["vocab_size"])}
    values |= {field: int(info[key]) for field, key in _SPECIAL if hasattr(default, field)}
    values |= no_dropout(default)
    try:
        return kind(**values)
    except Exception as error:  # the library's strict configs raise errors of their own
        raise ConfigError(f"transformers/{name} does not take these sizes: {error}") from error


def no_dropout(config: PreTrainedConfig) -> dict[str, float]:
    """The fields of a config that are a rate of dropout, at 0: dropout comes from the views."""
    fields = config.to_dict()
    return {
        name: 0.0
        for name, value in fields.items()
        if ("drop" in name or name == "dropout") and isinstance(value, int | float) and not isinstance(value, bool)
    }


def read_architecture(source: str) -> dict[str, Any]:
    """The fields of the config in a folder or on the hub that differ from its class's defaults, ``model_type`` among them.

    Raises:
        ConfigError: there is no such config.
    """
    config = read_config(source)
    described = json.loads(config.to_json_string(use_diff=True))
    dropped = (
        "transformers_version",
        "dtype",
        "torch_dtype",
        "architectures",
        "vocab_size",
        "_name_or_path",
        *no_dropout(config),
    )
    return {key: value for key, value in described.items() if key not in dropped}


def read_config(source: str) -> PreTrainedConfig:
    """The config in a folder, or of a model of the hub (``hf://owner/name``). No code of the model's is run.

    Raises:
        ConfigError: there is none, or it cannot be fetched.
    """
    where, local = place(source)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(where, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"backbone.pretrained={source} cannot be read: {error}") from error
    return config


def place(source: str) -> tuple[str, bool]:
    """What the transformers library is asked for, and whether it is a folder of this machine.

    Raises:
        ConfigError: it is neither a folder nor ``hf://owner/name``.
    """
    if source.startswith(_HUB):
        return source.removeprefix(_HUB), False
    if not Path(source).expanduser().is_dir():
        raise ConfigError(f"{source} is no folder. Give one with a model of transformers in it, or hf://owner/name.")
    return str(Path(source).expanduser()), True


def is_causal(name: str) -> bool:
    """Whether a model type is a decoder: it has a causal language model, and no masked one."""
    return name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and name not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
