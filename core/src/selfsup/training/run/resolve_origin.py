"""Resolve the options that initial weights and a teacher decide."""

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
"""What the key of a part's source begins with."""


@dataclass(frozen=True)
class Chosen:
    """What first weights bring; empty for a run that starts from none."""

    weights: InitialWeights | None = None
    teacher: InitialWeights | None = None
    parts: Mapping[str, InitialWeights] = field(default_factory=dict)
    """Of rows that join parts: by the name of a part."""

    @property
    def backbone(self) -> str:
        """The id of the backbone that the weights are of, or empty."""
        return "" if self.weights is None else self.weights.backbone_id

    def backbone_options(self, backbone: str) -> dict[str, Any]:
        """Options of the backbone that the weights are of, if that is the run's; those of the networks of parts."""
        if self.parts:
            return part_backbones(self.parts, registry().backbone_recipe(backbone))
        return dict(self.weights.options) if self.weights is not None and backbone == self.backbone else {}

    def processor_options(
        self, of_options: Mapping[str, Any], of_task: Mapping[str, Any], kind: type[Processor]
    ) -> dict[str, Any]:
        """Options of the processor that the weights were trained with.

        Args:
            of_options: those that go with what the backbone's own options name.
            of_task: those that suit the task. They go before those of a fitted processor as far as they can still be set.
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
    """What ``init`` decides.

    Args:
        init: of the config, or None.
        modality: of the task.
        backbone: that the caller names, or empty.

    Raises:
        ConfigError: it is nothing that a run can start from, or of another modality.
        ArtifactError: it cannot be read.
    """
    if isinstance(init, Mapping):
        return Chosen()  # the parts' are found once the backbone and the parts are known
    return Chosen(initial_weights(str(init), modality, backbone=backbone) if init else None)


def told_start(options: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a run is told to start from.

    Args:
        options: of the caller; ``init.PART`` says what the network of one part starts from.
        base: the config of a file, which counts where the caller says nothing, by parts as well.

    Returns:
        What counts; and what of it the caller says otherwise than the file, empty for nothing to start from, None where both
        say the same.

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
    """A file's options of a backbone, but for what says that it starts from other weights than the caller says.

    Args:
        options: of the backbone.
        anew: what the caller says otherwise, from :func:`told_start`.
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
    """Make sure that a caller says once where the first weights come from.

    Raises:
        ConfigError: ``init`` and an option of the backbone say so.
    """
    named = [name for name in FIRST_WEIGHTS if given.get("backbone_options", {}).get(name)]
    if init and named:
        raise ConfigError(f"init={init} and backbone.{named[0]} both say what to start from: give one of them.")
