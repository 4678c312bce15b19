"""What the weights that a run starts from, and those of its teacher, decide of its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selfsup.artifacts.initial_weights import InitialWeights, initial_weights
from selfsup.artifacts.loading import FIRST_WEIGHTS
from selfsup.data.processor import Processor
from selfsup.errors import ConfigError
from selfsup.layers import merge_layers
from selfsup.registry import registry
from selfsup.training.part_origins import part_backbones, part_processors


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


def check_one_start(init: Any, given: Mapping[str, Any]) -> None:
    """Make sure that a caller says once where the first weights come from.

    Raises:
        ConfigError: ``init`` and an option of the backbone say so.
    """
    named = [name for name in FIRST_WEIGHTS if given.get("backbone_options", {}).get(name)]
    if init and named:
        raise ConfigError(f"init={init} and backbone.{named[0]} both say what to start from: give one of them.")
