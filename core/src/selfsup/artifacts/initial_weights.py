"""Load initial weights: from an encoder, a model of another library, or a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsup.artifacts.encoder import hash_weights
from selfsup.artifacts.hub import HUB, fetch
from selfsup.artifacts.loading import FIRST_WEIGHTS, find_encoder, load, load_processor, read_encoder_config
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.artifacts.run_directory import RunDirectory
from selfsup.artifacts.saving import CONFIG_FILE, FORMAT, PROCESSOR_FOLDER
from selfsup.backbones import Adopted, Backbone, BackboneRecipe, Fitted, fit_weights, whole_state
from selfsup.backbones.weights import read_tensors
from selfsup.damaged_files import read_json
from selfsup.data.processor import Processor
from selfsup.errors import ArtifactError, ConfigError, UnknownIdError
from selfsup.registry import registry
from selfsup.types import Info
from selfsup.validation import validated

_TENSOR_FILES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class InitialWeights:
    """Weights that a network can start from, and what goes with them."""

    source: str
    """The source as the user named it."""
    modality: str
    backbone_id: str
    """The backbone that the weights are of."""
    options: dict[str, Any]
    """Its options as plain JSON values; for models of other libraries they name the weights (``pretrained``)."""
    processor: Processor | None = None
    """The fitted processor of an encoder of ours; None for models of other libraries."""
    processor_options: dict[str, Any] = field(default_factory=dict)
    """For weights of other libraries: options of their processor, such as tokenizer, sampling rate and image size."""
    pretraining_rows: PretrainingRows | None = None
    """The rows that the weights were trained on, if known."""
    _build: Callable[[Info], Backbone] = field(kw_only=True, repr=False)
    _weights: Callable[[], Mapping[str, Tensor]] | None = field(default=None, kw_only=True, repr=False)

    def come_with(self, backbone: str, options: Mapping[str, Any]) -> bool:
        """Whether a backbone built by this id and these options already has the weights.

        It has if the options name the weights as :attr:`options` do; the options of a run may differ.
        """
        first = {name: self.options[name] for name in FIRST_WEIGHTS if self.options.get(name)}
        return bool(first) and backbone == self.backbone_id and all(options.get(name) == first[name] for name in first)

    def backbone(self, info: Info) -> Backbone:
        """The network with these weights, on the CPU; torch's random state does not change.

        Args:
            info: of its batches; an encoder of ours keeps the info of its own processor.

        Raises:
            SelfsupError: the weights cannot be read, or do not fit their backbone.
        """
        with torch.random.fork_rng(devices=[]):
            return self._build(info)

    def state(self, info: Info) -> dict[str, Tensor]:
        """The weights by name; ``info`` as for :meth:`backbone`."""
        return dict(self._weights()) if self._weights is not None else whole_state(self.backbone(info))


def initial_weights(source: str | os.PathLike[str], modality: str, *, backbone: str = "") -> InitialWeights:
    """Find weights to start from; they are read when they are used.

    Args:
        source: one of

            * the folder of a run, of an encoder or of a fine-tuned model of ours, or ``hf://owner/name`` of one,
            * a folder of a model that a backbone of the modality can load (transformers, timm), or ``hf://owner/name``,
            * the id of a backbone whose library has weights for it (``timm/resnet50``),
            * a file of weights (``.safetensors``, or ``.pth`` of tensors), together with ``backbone``.
        modality: of the network to start.
        backbone: id of the backbone of a file of weights.

    Raises:
        ConfigError: it is none of these, or of another modality.
        ArtifactError: the source cannot be read.
    """
    text = os.fspath(source)
    path = Path(text).expanduser()
    if text.startswith(HUB):
        described = _read_config(fetch(text, [CONFIG_FILE]) / CONFIG_FILE)
        return _ours(text, modality) if described.get("format") == FORMAT else _adopted(text, described, modality)
    if path.is_dir():
        described = _read_config(path / CONFIG_FILE)
        if RunDirectory.is_run(path) or described.get("format") == FORMAT or not described:
            return _ours(text, modality)
        return _adopted(text, described, modality)
    if path.is_file():
        return _of_file(text, path, modality, backbone)
    return _of_library(text, modality)


def load_into(backbone: Backbone, weights: InitialWeights, info: Info) -> tuple[Fitted, str]:
    """Give a backbone these weights, matched by name (:func:`~selfsup.backbones.fit_weights`).

    Args:
        backbone: to change, in place.
        weights: to start from.
        info: of the backbone's batches.

    Returns:
        Which weights were used, and their SHA-256.

    Raises:
        ConfigError: the weights would misread the batches (ids of another tokenizer).
        ArtifactError: less than half of the backbone fits.
    """
    check_meaning(weights, info, "start from")
    state = weights.state(info)
    return fit_weights(backbone, state, weights.source), weights_digest(state)


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of weights and their names."""
    digest = hashlib.sha256()
    hash_weights(digest, weights)
    return digest.hexdigest()


def check_meaning(weights: InitialWeights, info: Info, purpose: str) -> None:
    """Refuse batches that a network with these weights would misread.

    Args:
        weights: of ours, with a processor; those of other libraries are checked when they are read.
        info: of the batches.
        purpose: of the weights, for the message (``start from``).

    Raises:
        ConfigError: the message says what differs.
    """
    if weights.processor is not None and (reason := type(weights.processor).unlike(weights.processor.info(), info)):
        raise ConfigError(f"{weights.source} cannot be used to {purpose}: {reason}")


def _ours(source: str, modality: str) -> InitialWeights:
    directory = find_encoder(source)
    config = read_encoder_config(directory)
    if config["modality"] != modality:
        text = f"{source} is an encoder for {config['modality']}, not for {modality}."
        raise ConfigError(text + _of_its_parts(config, source, modality))
    return InitialWeights(
        source,
        modality,
        config["backbone"]["id"],
        {name: value for name, value in config["backbone"]["options"].items() if name not in FIRST_WEIGHTS},
        load_processor(directory / PROCESSOR_FOLDER, modality),
        pretraining_rows=PretrainingRows.load(directory, config.get("pretraining_rows")),
        _build=lambda info: load(source).backbone,
    )


def _of_its_parts(config: Mapping[str, Any], source: str, modality: str) -> str:
    """How to use a part with this modality of an encoder of several parts; empty if there is none."""
    fitting = [name for name, own in config["info"].get("parts", {}).items() if own.get("modality") == modality]
    if not fitting:
        return ""
    export = f"selfsup export {source} --part {fitting[0]} --format safetensors --out FOLDER"
    return f" Its part {' or '.join(fitting)} is for {modality}: {export}, then start from FOLDER."


def _adopted(source: str, described: Mapping[str, Any], modality: str) -> InitialWeights:
    """A model of another library, which a backbone of the modality recognizes by its ``config.json``."""
    house = registry()
    for spec in house.backbones.values():
        if spec.modality != modality:
            continue
        recipe: BackboneRecipe = house.load(spec)
        if recipe.adopt is not None and (found := recipe.adopt(source, described)) is not None:
            return _of_adopted(source, found, modality)
    kind = described.get("model_type") or described.get("architecture") or "an unknown kind"
    raise ConfigError(
        f"{source} holds a model of another library ({kind}), and no backbone for {modality} can load it. See "
        f"`selfsup list backbones --modality {modality}`."
    )


def _of_adopted(source: str, found: Adopted, modality: str) -> InitialWeights:
    own = {**_preprocessing(found.id, found.options), **found.processor}
    weights = found.weights

    def build(info: Info) -> Backbone:
        backbone, _ = registry().build_backbone(found.id, found.options, info)
        if weights is not None:
            fit_weights(backbone, weights(), source)
        return backbone

    return InitialWeights(source, modality, found.id, found.options, processor_options=own, _build=build, _weights=weights)


def _preprocessing(backbone: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the processor with which the weights in a backbone's options were trained."""
    recipe = registry().backbone_recipe(backbone)
    if recipe.preprocessing is None:
        return {}
    spec = registry().get("backbone", backbone)
    name = {"name": backbone.partition("/")[2]} if spec.id != backbone else {}
    return dict(recipe.preprocessing(validated(recipe.config, {**options, **name}, what=f"backbone {backbone!r}")))


def _of_file(source: str, path: Path, modality: str, backbone: str) -> InitialWeights:
    """A file of weights with a library's names."""
    if path.suffix not in _TENSOR_FILES:
        raise ConfigError(
            f"{source} is an unknown kind of file: give a folder, or a file of weights ({', '.join(_TENSOR_FILES)})."
        )
    if not backbone:
        raise ConfigError(f"{source} is a file of weights, which does not name its network: name it with --backbone.")
    return _of_adopted(source, Adopted(backbone, weights=lambda: read_tensors(path)), modality)


def _of_library(source: str, modality: str) -> InitialWeights:
    """The id of a backbone whose library has weights for it."""
    wanted = (
        "Give the folder of a run or of an encoder, the folder of a model of another library, a file of weights, "
        "hf://owner/name, or a backbone whose library has weights (timm/NAME)."
    )
    try:
        spec = registry().get("backbone", source)
    except UnknownIdError:
        raise ConfigError(f"{source} does not exist, and is no backbone. {wanted}") from None
    if spec.modality != modality:
        raise ConfigError(f"the backbone {source} is for {spec.modality}, not for {modality}.")
    field_info = registry().backbone_recipe(source).config.model_fields.get("pretrained")
    if field_info is None or field_info.annotation is not bool:
        raise ConfigError(f"no library has weights for the backbone {source}. {wanted}")
    return _of_adopted(source, Adopted(source, {"pretrained": True}), modality)


def _read_config(path: Path) -> dict[str, Any]:
    """The content of a ``config.json``; empty if it does not exist."""
    try:
        described = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    return described if isinstance(described, dict) else {}
