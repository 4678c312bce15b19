"""The references of pretraining: the backbone at initialisation, and a backbone trained with labels."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import nn

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.errors import ConfigError
from selfsup.runtime.precision import full
from selfsup.tasks.base import PretextTask, StepOutput, TaskRecipe, Views, ViewsRecipe
from selfsup.tasks.config_sections import join_sections
from selfsup.tasks.parts.label_loss import label_loss
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
    """Share of the target that is spread over all classes; 0: none. Not for labels that are numbers."""


class Supervised(PretextTask):
    """A linear head predicts the labels: the one task that sees them.

    The loss is the cross-entropy of classes, the mean binary cross-entropy where a row may have several, and the squared error
    of standardised numbers.

    Args:
        backbone: the network to train.
        n_classes: number of classes; of no account where the labels are numbers.
        views: light augmentation; its first view is used; None: none.
        label_smoothing: share of the target that is spread over all classes.
        label_kind: ``class``, ``classes`` (several a row) or ``number``.

    Raises:
        ConfigError: there are fewer than two classes, or numbers are to be smoothed.
    """

    def __init__(
        self,
        backbone: Backbone,
        n_classes: int,
        views: Views | None = None,
        label_smoothing: float = 0.0,
        label_kind: LabelKind = "class",
    ) -> None:
        super().__init__()
        if label_kind == "class" and n_classes < 2:
            raise ConfigError(f"supervised training needs at least two classes, and the data has {n_classes}.")
        if label_kind == "number" and label_smoothing:
            raise ConfigError(f"objective.label_smoothing={label_smoothing} is not allowed: the labels are numbers.")
        self.backbone = backbone
        self.views = views
        self.label_smoothing = label_smoothing
        self.label_kind = label_kind
        self.head = nn.Linear(backbone.pooled_dim, 1 if label_kind == "number" else n_classes)

    @property
    def takes_whole(self) -> bool:
        """Whether its views are cut from whole samples."""
        return self.views is not None and self.views.takes_whole

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """The loss of one batch, which carries ``label``: [B] long, [B, K] zeros and ones, or [B] standardised numbers.

        Its metric is the accuracy, the micro-F1 of the batch, or R² (1 - the loss, since the labels have variance 1).
        """
        if "label" not in batch:
            raise ConfigError("supervised training needs labels, and the batch has none: name the label column (--label).")
        inputs = {key: value for key, value in batch.items() if key != "label"}
        view = inputs if self.views is None else self.views(inputs, generator)[0]
        logits = self.head(self.backbone(view).pooled)
        logits = full(logits)
        target = batch["label"]
        loss = label_loss(self.label_kind, logits, target, label_smoothing=self.label_smoothing)
        if self.label_kind == "number":
            return StepOutput(loss, {"r2": 1 - loss.detach()})
        if self.label_kind == "classes":
            predicted, truth = logits.detach() > 0, target > 0.5
            sizes = (predicted.sum() + truth.sum()).clamp_min(1)
            return StepOutput(loss, {"micro_f1": 2 * (predicted & truth).sum() / sizes})
        return StepOutput(loss, {"accuracy": (logits.detach().argmax(dim=1) == target).float().mean()})


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
        kind = info.get("label_kind", "class")
        return Supervised(backbone, int(info["n_classes"]), made_views, config.objective.label_smoothing, kind)

    return TaskRecipe(config=join_sections("SupervisedConfig", sections), build=build)
