"""Configs of speech models of transformers, made from sizes or read from a folder or the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, FeatureExtractionMixin, PreTrainedConfig

from selfsup.errors import ConfigError, UnknownIdError

MODEL_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
"""Models like wav2vec 2.0: convolutions on the waveform, a convolution for positions, a transformer."""
_HUB = "hf://"
_USUAL_RATE = 16000
_NOT_ARCHITECTURE = ("transformers_version", "dtype", "torch_dtype", "architectures", "_name_or_path")


def make_config(
    name: str, architecture: Mapping[str, Any], *, hidden_size: int | None, layers: int | None, heads: int | None
) -> PreTrainedConfig:
    """A config of a model type, without dropout: pretraining draws random numbers from the run's generator only.

    Args:
        name: one of :data:`MODEL_TYPES`.
        architecture: fields of the config under the library's names; they override sizes that follow from others.
        hidden_size: width; None: the type's own. The feed-forward layer keeps its proportion to it.
        layers: None: the type's own.
        heads: None: the type's own.

    Raises:
        UnknownIdError: the name is unknown.
        ConfigError: a field is not allowed, or the sizes do not fit each other.
    """
    kind = config_class(name)
    default: Any = kind()
    values: dict[str, Any] = {}
    if hidden_size is not None:
        values |= {
            "hidden_size": hidden_size,
            "intermediate_size": round(default.intermediate_size / default.hidden_size * hidden_size),
        }
    if layers is not None:
        values["num_hidden_layers"] = layers
    if heads is not None:
        values["num_attention_heads"] = heads
    for field, value in values.items():
        if field != "intermediate_size" and architecture.get(field, value) != value:
            raise ConfigError(
                f"backbone.architecture has {field}={architecture[field]}, and its option has {value}: set only one of them."
            )
    values |= {key: value for key, value in architecture.items() if key != "model_type"}
    try:
        config: Any = kind(**{**values, **no_dropout(default)})
    except Exception as error:  # the library's strict configs raise errors of their own
        raise ConfigError(f"transformers-audio/{name} does not take these sizes: {error}") from error
    groups = ("heads", config.num_attention_heads), ("num_conv_pos_embedding_groups", config.num_conv_pos_embedding_groups)
    for field, divisor in groups:
        if config.hidden_size % divisor:
            raise ConfigError(f"transformers-audio/{name}: {field}={divisor} does not divide the width {config.hidden_size}.")
    made: PreTrainedConfig = config
    return made


def config_class(name: str) -> type[PreTrainedConfig]:
    """The config class of a model type.

    Raises:
        UnknownIdError: the name is not in :data:`MODEL_TYPES`.
    """
    if name not in MODEL_TYPES:
        raise UnknownIdError(f"there is no backbone transformers-audio/{name}; the name after the slash is one of "
                             f"{', '.join(MODEL_TYPES)}.")  # fmt: skip
    found: type[PreTrainedConfig] = CONFIG_MAPPING[name]
    return found


def no_dropout(config: PreTrainedConfig) -> dict[str, Any]:
    """The fields of a config for dropout and random masks, switched off."""
    rates = {name: 0.0 for name, value in config.to_dict().items() if isinstance(value, float) and "drop" in name}
    return {**rates, "apply_spec_augment": False}


def read_architecture(source: str) -> dict[str, Any]:
    """The fields of a source's config that differ from the defaults of its class, and ``model_type``.

    Raises:
        ConfigError: the config cannot be read.
    """
    config = read_config(source)
    described = json.loads(config.to_json_string(use_diff=True))
    dropped = {*_NOT_ARCHITECTURE, *no_dropout(config)}
    return {key: value for key, value in described.items() if key not in dropped}


def read_config(source: str) -> PreTrainedConfig:
    """The config in a folder, or of a model of the hub (``hf://owner/name``). No code of the model is run.

    Raises:
        ConfigError: the config is missing, or cannot be fetched.
    """
    where, local = place(source)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(where, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"backbone.pretrained={source} cannot be read: {error}") from error
    return config


def read_extractor(source: str) -> dict[str, Any]:
    """``sample_rate`` in Hz and ``normalize`` of the recordings that a model was trained on.

    Without a ``preprocessor_config.json`` the rate is that of the papers' models, 16,000 Hz.

    Raises:
        ConfigError: the file cannot be read.
    """
    where, local = place(source)
    try:
        described, _ = FeatureExtractionMixin.get_feature_extractor_dict(where, local_files_only=local)
    except (OSError, ValueError) as error:
        if local and (Path(where) / "preprocessor_config.json").exists():
            raise ConfigError(f"backbone.pretrained={source}: its preprocessor_config.json cannot be read: {error}") from error
        described = {}
    found: dict[str, Any] = {"sample_rate": int(described.get("sampling_rate", _USUAL_RATE))}
    return found | ({"normalize": bool(described["do_normalize"])} if "do_normalize" in described else {})


def place(source: str) -> tuple[str, bool]:
    """The folder, or the name on the hub, for the library, and whether it is a folder.

    Raises:
        ConfigError: the source is neither a folder nor ``hf://owner/name``.
    """
    if source.startswith(_HUB):
        return source.removeprefix(_HUB), False
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"backbone.pretrained={source} is no folder with a model in it; hf://owner/name is the hub.")
    return str(folder), True
