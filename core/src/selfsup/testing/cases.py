"""A task, made small enough to be checked in a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from selfsup.config import Config
from selfsup.registry import registry
from selfsup.specs import TaskSpec
from selfsup.types import Batch

if TYPE_CHECKING:
    from selfsup.data import Processor
    from selfsup.tasks import PretextTask

SMALL = {
    "queue_size": 64,
    "n_prototypes": 64,
    "hidden_dim": 64,
    "bottleneck_dim": 32,
    "output_dim": 64,
    "n_slices": 64,
    "n_local": 2,
}
"""Widths of heads, lengths of queues and numbers of views that only cost time in a check, in place of larger defaults."""


@dataclass(frozen=True)
class TaskCase:
    """One registered task on its modality's mock rows."""

    spec: TaskSpec
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Dotted config keys to values, on top of :data:`SMALL`."""
    rows: int = 16
    """Samples in a batch."""

    def __str__(self) -> str:
        return self.spec.id

    def build(self, seed: int = 0) -> PretextTask:
        """The task with weights drawn from ``seed``; the global random state stays as it was."""
        house = registry()
        info = dict(self.processor().info())
        if self.spec.needs_labels:
            info["n_classes"] = 2
        recipe = house.task_recipe(self.spec)
        config = small_config(recipe.config, self.overrides)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone, _ = house.build_backbone(self.backbone_id(), self.backbone_options(), info)
            task = recipe.build(config, backbone, info)
        return task.train()

    def backbone_id(self) -> str:
        """The task's default backbone."""
        return self.spec.backbone or registry().modalities[self.spec.modality].backbone

    def backbone_options(self) -> dict[str, Any]:
        """Of the backbone; none, so that its defaults are checked."""
        return {}

    def processor(self) -> Processor:
        """The modality's, fitted on mock rows."""
        return fitted_processor(self.spec.modality)

    def batch(self, part: int = 0) -> Batch:
        """``rows`` processed mock rows; another ``part`` gives other rows."""
        batch = mock_batch(self.spec.modality, self.rows, part)
        if self.spec.needs_labels:
            batch = {**batch, "label": torch.arange(self.rows) % 2}
        return batch


@lru_cache(maxsize=16)
def fitted_processor(modality: str) -> Processor:
    """The modality's processor with default options, fitted on mock rows."""
    processor_class = registry().processor_class(modality)
    return processor_class(processor_class.Config()).fit(load_mock_rows(modality, 64))


def load_mock_rows(modality: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """``n`` mock rows of a modality."""
    rows: list[dict[str, Any]] = registry().modality_objects(modality).mock_rows(n, seed)
    return rows


def mock_batch(modality: str, n: int, part: int) -> Batch:
    """A batch of mock rows."""
    return fitted_processor(modality)(load_mock_rows(modality, n, seed=part))


def small_config(config: type[Config], overrides: Mapping[str, Any]) -> Config:
    """The config's defaults with :data:`SMALL` widths, then ``overrides`` by dotted key."""
    values = config().model_dump()
    _shrink(values)
    for key, value in overrides.items():
        *path, leaf = key.split(".")
        section = values
        for name in path:
            section = section[name]
        section[leaf] = value
    return config.model_validate(values)


def _shrink(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _shrink(value)
        elif name in SMALL and isinstance(value, int) and value > SMALL[name]:
            values[name] = SMALL[name]
