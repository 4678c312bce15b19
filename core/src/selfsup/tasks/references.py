"""The references that pretraining is compared with: the backbone as it is initialised, and one trained with labels."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks.base import PretextTask, StepOutput, TaskRecipe, Views, ViewsRecipe
from selfsup.tasks.sections import join_sections
from selfsup.types import Batch, Info


class RandomInitConfig(Config):
    """Random initialisation has no options."""


class RandomInit(PretextTask):
    """A backbone as it is initialised. Runs never train it; its loss is zero, and so are its gradients."""

    trains = False

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Zero."""
        return StepOutput(self.backbone(batch).pooled.float().sum() * 0.0, {})


def random_init() -> TaskRecipe:
    """The recipe of ``<modality>/random-init``."""

    def build(config: Any, backbone: Backbone, info: Info) -> RandomInit:
        return RandomInit(backbone)

    return TaskRecipe(config=RandomInitConfig, build=build, optimization={"steps": 0})


class ClassifierConfig(Config):
    """The head and the loss of supervised training."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes; 0: none."""


class Supervised(PretextTask):
    """Cross-entropy of a linear head with the labels: the one task that sees them.

    Args:
        backbone: the network to train.
        n_classes: number of classes.
        views: light augmentation, of which the first view is used; None: none.
        label_smoothing: share of the target that is spread over all classes.

    Raises:
        ConfigError: there are fewer than two classes.
    """

    def __init__(self, backbone: Backbone, n_classes: int, views: Views | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if n_classes < 2:
            raise ConfigError(f"supervised training needs at least two classes, and the data has {n_classes}.")
        self.backbone = backbone
        self.views = views
        self.label_smoothing = label_smoothing
        self.head = nn.Linear(backbone.pooled_dim, n_classes)

    @property
    def takes_whole(self) -> bool:
        """Whether its views are cut from whole samples."""
        return self.views is not None and self.views.takes_whole

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """The loss of one batch, which carries ``label`` ([B] long)."""
        if "label" not in batch:
            raise ConfigError("supervised training needs labels, and the batch has none: name the label column (--label).")
        inputs = {key: value for key, value in batch.items() if key != "label"}
        view = inputs if self.views is None else self.views(inputs, generator)[0]
        logits = self.head(self.backbone(view).pooled)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing)
        accuracy = (logits.detach().argmax(dim=1) == batch["label"]).float().mean()
        return StepOutput(loss, {"accuracy": accuracy})


def supervised(views: ViewsRecipe | None = None) -> TaskRecipe:
    """The recipe of ``<modality>/supervised``.

    Args:
        views: the modality's light augmentation; None: none.
    """
    sections: dict[str, tuple[type[Config], str]] = {"objective": (ClassifierConfig, "The head and the loss.")}
    if views is not None:
        sections["views"] = (views.config, "How the view is made.")

    def build(config: Any, backbone: Backbone, info: Info) -> Supervised:
        if "n_classes" not in info:
            raise ConfigError("supervised training needs labels, and the data has none: name the label column (--label).")
        made_views = views.build(config.views, info) if views is not None else None
        return Supervised(backbone, int(info["n_classes"]), made_views, config.objective.label_smoothing)

    return TaskRecipe(config=join_sections("SupervisedConfig", sections), build=build)
