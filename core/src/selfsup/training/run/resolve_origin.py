"""Resolve the options that depend on initial weights and a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selfsup.artifacts.initial_weights import InitialWeights, initial_weights
from selfsup.artifacts.loading import FIRST_WEIGHTS
from selfsup.config_layers import merge_layers
from selfsup.data.processor import Processor
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.training.run.config import RunConfig
from selfsup.training.run.part_origins import part_backbones, part_processors
from selfsup.training.settings.values import Unread, read_value

_OF_PART = "init."
"""Prefix of the key of a part's source."""


@dataclass(frozen=True)
class Chosen:
    """Initial weights and teacher of a run; empty for a run without."""

    weights: InitialWeights | None = None
    teacher: InitialWeights | None = None
    parts: Mapping[str, InitialWeights] = field(default_factory=dict)
    """For rows with several parts: part name to its weights."""

    @property
    def backbone(self) -> str:
        """Id of the weights' backbone, or empty."""
        return "" if self.weights is None else self.weights.backbone_id

    def backbone_options(self, backbone: str) -> dict[str, Any]:
        """Options of the weights' backbone, if the run has the same backbone; or of the networks of parts."""
        if self.parts:
            return part_backbones(self.parts, registry().backbone_recipe(backbone))
        return dict(self.weights.options) if self.weights is not None and backbone == self.backbone else {}

    def processor_options(
        self, of_options: Mapping[str, Any], of_task: Mapping[str, Any], kind: type[Processor]
    ) -> dict[str, Any]:
        """Options of the processor that the weights were trained with.

        Args:
            of_options: options that suit the weights that the backbone's own options name.
            of_task: options that suit the task. They override those of a fitted processor if they can still be set.
            kind: class of the run's processor.
        """
        if self.parts:
            return merge_layers(of_options, part_processors(self.parts, kind))
        found = [each for each in (self.weights, self.teacher) if each is not None]
        for each in found:
            if (processor := each.processor) is not None:
                able = {name: value for name, value in of_task.items() if name in processor.adjustable}
                return {**processor.config.model_dump(mode="json"), **able}
        return {**({} if self.teacher is None else self.teacher.processor_options), **of_options,
                **({} if self.weights is None else self.weights.processor_options)}  # fmt: skip


def chosen_by(init: Any, modality: str, backbone: str) -> Chosen:
    """The weights that ``init`` names.

    Args:
        init: of the config, or None.
        modality: of the task.
        backbone: named by the caller, or empty.

    Raises:
        ConfigError: there are no weights, or they are of another modality.
        ArtifactError: it cannot be read.
    """
    if isinstance(init, Mapping):
        return Chosen()  # found later, once the backbone and the parts are known
    return Chosen(initial_weights(str(init), modality, backbone=backbone) if init else None)


def told_start(options: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[Any, Any]:
    """The ``init`` of a run.

    Args:
        options: of the caller; ``init.PART`` is the source of one part's network.
        base: the config of a file, used for what the caller leaves out, by parts as well.

    Returns:
        The ``init``, and the part of it in which the caller differs from the file: empty for fresh weights, None for no
        difference.

    Raises:
        ConfigError: a source is an empty text.
    """
    told: Any = options.get("init")
    if isinstance(told, Unread):
        told = read_value(told, RunConfig.model_fields["init"].annotation, "init")
    parts = {key.removeprefix(_OF_PART): str(value) for key, value in options.items() if key.startswith(_OF_PART)}
    if parts:
        told = {**told, **parts} if isinstance(told, Mapping) else parts
    former = base.get("init")
    if "init" in options and told is None:  # null: fresh weights
        return None, dict.fromkeys(former, "") if isinstance(former, Mapping) else "" if former else None
    counts: Any = former if told is None else told
    anew = None if told == former else told
    if isinstance(told, Mapping) and isinstance(former, Mapping):
        counts = {**former, **told}
        anew = {part: source for part, source in told.items() if former.get(part) != source}
    named = counts.items() if isinstance(counts, Mapping) else [("", counts)]
    for part, source in named:
        if source is not None and not str(source).strip():
            of_part = f" of {part}" if part else ""
            raise ConfigError(f"init{of_part} is an empty text: name what to start from, or leave it out for fresh weights.")
    return counts, anew


def without_former_start(options: Mapping[str, Any], anew: Any, backbone: str) -> dict[str, Any]:
    """A file's options of a backbone, without initial weights that the caller replaces.

    Args:
        options: of the backbone.
        anew: the caller's difference, from :func:`told_start`.
        backbone: its id.
    """
    recipe = registry().backbone_recipe(backbone)
    kept = dict(options)
    if isinstance(anew, Mapping):
        parts = kept.get(recipe.parts) or {}
        for name in anew.keys() & parts.keys():
            own = parts[name]
            if own.get("backbone"):
                own = {**own, "options": without_former_start(own.get("options", {}), "", own["backbone"])}
                kept[recipe.parts] = {**kept[recipe.parts], name: own}
    elif anew is not None:
        kept |= {name: recipe.config.model_fields[name].default for name in FIRST_WEIGHTS if kept.get(name)}
    return kept


def check_one_start(init: Any, given: Mapping[str, Any]) -> None:
    """Check that a caller names the initial weights once.

    Raises:
        ConfigError: both ``init`` and an option of the backbone name them.
    """
    named = [name for name in FIRST_WEIGHTS if given.get("backbone_options", {}).get(name)]
    if init and named:
        raise ConfigError(f"init={init} and backbone.{named[0]} both say what to start from: give one of them.")
