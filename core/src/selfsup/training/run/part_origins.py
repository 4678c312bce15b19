"""Load initial weights into the networks of single parts (``init`` as a mapping)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from selfsup.artifacts.initial_weights import InitialWeights, initial_weights, load_into, weights_digest
from selfsup.backbones import Backbone, BackboneRecipe, whole_state
from selfsup.data.processor import Processor
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.types import Info


def part_weights(
    init: Mapping[str, str], modality: str, backbone: str, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, InitialWeights]:
    """Find the weights of each part that ``init`` names.

    Args:
        init: part name to the source of its network's weights.
        modality: of the run.
        backbone: id of the run's backbone.
        options: ``processor_options`` and ``backbone_options``, as far as they are known.

    Raises:
        ConfigError: rows have no parts, the backbone has no network per part, or a source is of another modality.
        ArtifactError: a source cannot be read.
    """
    if not registry().get("modality", modality).joins:
        raise ConfigError(f"init={dict(init)} is by the parts of a row, and rows of {modality} have none: give one source.")
    recipe = registry().backbone_recipe(backbone)
    if not recipe.parts:
        raise ConfigError(
            f"{backbone} has no network of its own for a part, so none can start from {', '.join(init.values())}."
        )
    processor = registry().processor_class(modality)
    towers = options.get("backbone_options", {}).get(recipe.parts, {})
    return {
        name: initial_weights(
            source,
            processor.part_modality(name, options.get("processor_options", {})),
            backbone=towers.get(name, {}).get("backbone", ""),
        )
        for name, source in init.items()
    }


def part_backbones(parts: Mapping[str, InitialWeights], recipe: BackboneRecipe) -> dict[str, Any]:
    """Options of the run's backbone that give each part the network of its weights."""
    if not parts:
        return {}
    return {recipe.parts: {name: {"backbone": own.backbone_id, "options": dict(own.options)} for name, own in parts.items()}}


def part_processors(parts: Mapping[str, InitialWeights], processor: type[Processor]) -> dict[str, Any]:
    """Options of the run's processor that the parts' weights were trained with."""
    own = {
        name: weights.processor_options
        if weights.processor is None
        else weights.processor.unpacked().config.model_dump(mode="json")
        for name, weights in parts.items()
    }
    return {processor.part_options: own} if own else {}


def start_parts(backbone: Backbone, parts: Mapping[str, InitialWeights], info: Info) -> tuple[list[str], dict[str, Any]]:
    """Load the initial weights into the networks of parts.

    Returns:
        Messages, and the entry of ``run.json``.

    Raises:
        ConfigError: there is no such part, or these weights would misread its batches.
        ArtifactError: weights do not fit.
    """
    messages: list[str] = []
    record: dict[str, Any] = {}
    for name, weights in parts.items():
        own, (id, options), share = backbone.part(name), backbone.part_options(name), 1.0
        messages.append(f"The network of {name} starts from {weights.source}.")
        if weights.come_with(id, options):
            own.started_from, digest = weights.source, weights_digest(whole_state(own))
        else:
            fitted, digest = load_into(own, weights, info["parts"][name]["info"])
            share = fitted.share
            messages += [f"Of the weights of {weights.source}, {line}." for line in fitted.describe()]
        record[name] = {"source": weights.source, "weights": digest, "share": round(share, 6), "backbone": weights.backbone_id}
    joined = hashlib.sha256("".join(own["weights"] for own in record.values()).encode()).hexdigest()
    sources = ", ".join(f"{name}={own['source']}" for name, own in record.items())
    return messages, {"source": sources, "weights": joined, "parts": record}
