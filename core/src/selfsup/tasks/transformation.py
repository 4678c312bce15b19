"""Predict an applied transformation: its class, a permutation, or coordinates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.config import Config, idle
from selfsup.errors import ConfigError
from selfsup.runtime.precision import full
from selfsup.tasks.base import PretextTask, StepOutput, TaskRecipe, Transformation, Transformed
from selfsup.tasks.config_sections import with_defaults, with_section
from selfsup.tasks.parts.random_masking import mean_term, weighted_mean
from selfsup.types import Batch, Info

_KINDS = ("class", "coordinates")


class TransformationConfig(Config):
    """Options of the head; those of the transformation itself come in a section ``transformation``."""

    head_dims: tuple[int, ...] = ()
    """Widths of the head's hidden layers (ReLU); none: a linear head, as in RotNet."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the head's hidden units dropped in training; 0 in RotNet, 0.5 in the jigsaw paper."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("head_dims is empty", not self.head_dims, "dropout")


class TransformationPrediction(PretextTask):
    """Transform the input, encode it, and predict what was done to it from the pooled embedding.

    Rotations: Gidaris et al. 2018 (arXiv 1803.07728). Jigsaw: Noroozi & Favaro 2016 (arXiv 1603.09246). Where an answer has
    several ``parts``, each is encoded apart and the head sees them joined, in order.

    Classes are compared by cross-entropy, coordinates by squared error, both in float32 or better. Samples that are too short
    for the transformation are left out of the loss; the metric ``left_out`` is their share of all samples so far.
    """

    _seen: Tensor

    def __init__(self, config: TransformationConfig, backbone: Backbone, transformation: Transformation) -> None:
        super().__init__()
        self.backbone = backbone
        self.transformation = transformation
        if transformation.kind not in _KINDS:
            raise ConfigError(
                f"{type(transformation).__name__}.kind is {transformation.kind!r}: a transformation is predicted as one of "
                f"{', '.join(map(repr, _KINDS))}."
            )
        outputs = transformation.n_outputs * (transformation.items if transformation.kind == "class" else 1)
        widths = [transformation.parts * backbone.pooled_dim, *config.head_dims]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), GeneratorDropout(config.dropout)]
        self.hidden = nn.ModuleList(layers)
        self.out = nn.Linear(widths[-1], outputs)
        self.register_buffer("_seen", torch.zeros(2), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Transform, encode, predict."""
        transformed = self.transformation(batch, generator)
        prediction = self.predict(transformed.batch, generator)
        loss = class_loss if self.transformation.kind == "class" else coordinate_loss
        output = loss(prediction, transformed.label, transformed.weight)
        return output._replace(metrics={**output.metrics, **self._left_out(transformed)})

    def _left_out(self, transformed: Transformed) -> dict[str, Tensor]:
        """The share of answers so far that were left out, as a metric; none as long as no batch said that there may be such."""
        if transformed.weight is None:
            return {}
        out = (transformed.weight == 0).sum()
        self._seen += torch.stack([out, torch.full_like(out, len(transformed.label))])
        return {"left_out": self._seen[0] / self._seen[1]}

    def predict(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """[M, outputs], what the head makes of a transformed batch of M answers ([M*parts, ...])."""
        pooled = self.backbone(batch).pooled
        x = pooled.reshape(-1, self.transformation.parts * pooled.shape[-1])
        for layer in self.hidden:
            x = layer(x, generator) if isinstance(layer, GeneratorDropout) else layer(x)
        out: Tensor = self.out(x)
        return out


class GeneratorDropout(nn.Module):
    """Dropout whose draws come from the run's generator, so that a resumed run repeats them."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Drop in training only."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


def class_loss(prediction: Tensor, label: Tensor, weight: Tensor | None = None) -> StepOutput:
    """Cross-entropy and accuracy, the mean over answers that are asked for.

    Args:
        prediction: [M, items * classes] logits.
        label: [M] or [M, items] long.
        weight: [M] float, which answers count; None: all.
    """
    logits = full(prediction).view(label.numel(), -1)
    answers = label.flatten()
    hit = (logits.detach().argmax(dim=1) == answers).float()
    counted = None if weight is None else weight.to(logits.dtype).repeat_interleave(label.numel() // len(label))
    loss = mean_term(F.cross_entropy(logits, answers, reduction="none"), counted)
    return StepOutput.of(loss, metrics={"accuracy": weighted_mean(hit, counted)})


def coordinate_loss(prediction: Tensor, label: Tensor, weight: Tensor | None = None) -> StepOutput:
    """Mean squared error, and the mean absolute one as a metric.

    Args:
        prediction: [M, n_outputs].
        label: [M, ...] float with as many numbers a row.
        weight: [M] float, which answers count; None: all.
    """
    difference = full(prediction) - full(label).flatten(1)
    absolute = weighted_mean(difference.detach().abs().mean(dim=1), weight)
    return StepOutput.of(mean_term(difference.square().mean(dim=1), weight), metrics={"absolute_error": absolute})


def balanced_labels(n: int, classes: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """[n] long in random order, each class as often as any other as far as n allows: no batch leans to one answer.

    Each single label is uniform over the classes.

    Args:
        n: number of labels.
        classes: number of classes.
        generator: source of the draws; None: torch's global one.
        device: where to draw.
    """
    order = torch.rand(n, generator=generator, device=device).argsort()
    # Which classes have one more label than the others is drawn, too.
    first = torch.randint(classes, (), generator=generator, device=device)
    return (order + first) % classes


def transformation_recipe(
    config: type[Config],
    build: Callable[[Any, Info], Transformation],
    *,
    optimization: dict[str, Any] | None = None,
    **defaults: Any,
) -> TaskRecipe:
    """A task that predicts a modality's transformation, whose options are the config's section ``transformation``.

    Args:
        config: the transformation's options.
        build: makes the transformation from them and the processor's info.
        optimization: the paper's optimizer settings.
        defaults: other defaults for fields of :class:`TransformationConfig` (the head).

    Raises:
        ConfigError: a default is of no field, or breaks its limits.
    """
    head = with_defaults(TransformationConfig, defaults)
    whole = with_section(head, "transformation", config, "What is done to the input.")

    def build_task(options: Any, backbone: Backbone, info: Info) -> TransformationPrediction:
        return TransformationPrediction(options, backbone, build(options.transformation, info))

    return TaskRecipe(config=whole, build=build_task, optimization=dict(optimization or {}))
