"""What the weights that a run starts from, and those of its teacher, decide of its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfsup.artifacts.initial_weights import InitialWeights, initial_weights
from selfsup.artifacts.loading import FIRST_WEIGHTS
from selfsup.errors import ConfigError


@dataclass(frozen=True)
class Chosen:
    """What first weights bring; empty for a run that starts from none."""

    weights: InitialWeights | None = None
    teacher: InitialWeights | None = None

    @property
    def backbone(self) -> str:
        """The id of the backbone that the weights are of, or empty."""
        return "" if self.weights is None else self.weights.backbone_id

    def backbone_options(self, backbone: str) -> dict[str, Any]:
        """Options of the backbone that the weights are of, if that is the run's."""
        return dict(self.weights.options) if self.weights is not None and backbone == self.backbone else {}

    def processor_options(self, of_options: Mapping[str, Any], of_task: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the processor that the weights were trained with.

        Args:
            of_options: those that go with what the backbone's own options name.
            of_task: those that suit the task. They go before those of a fitted processor as far as they can still be set.
        """
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
    return Chosen(initial_weights(str(init), modality, backbone=backbone) if init else None)


def check_one_start(init: Any, given: Mapping[str, Any]) -> None:
    """Make sure that a caller says once where the first weights come from.

    Raises:
        ConfigError: ``init`` and an option of the backbone say so.
    """
    named = [name for name in FIRST_WEIGHTS if given.get("backbone_options", {}).get(name)]
    if init and named:
        raise ConfigError(f"init={init} and backbone.{named[0]} both say what to start from: give one of them.")
