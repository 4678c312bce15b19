"""The probe of all layers: a linear classifier on a learned mixture of the outputs of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import class_count
from selfsup.evaluation.maths.lbfgs import minimise
from selfsup.evaluation.maths.logistic import Standardizer
from selfsup.evaluation.maths.metrics import classification_metrics, cross_entropy
from selfsup.evaluation.maths.penalty import choose_penalty

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


class WeightedLayersConfig(Config):
    """Options of the probe of all layers."""

    l2: tuple[float, ...] = Field(default=(0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4), min_length=1)
    """Penalties to choose from, on mean cross-entropy and standardised features (SUPERB searches learning rates)."""
    iterations: int = Field(default=60, ge=1)
    """Most steps of L-BFGS for each penalty."""
    tolerance: float = Field(default=1e-6, gt=0)
    """A fit stops when it expects to gain less than this, in nats."""


@dataclass(frozen=True)
class LayerProbe:
    """A fitted mixture of layers and the classifier on top of it."""

    standardizer: Standardizer
    """Of the L x D features."""
    mixture: Tensor
    """[L], how much each layer counts; they sum to 1."""
    weight: Tensor
    """[K, D]."""
    bias: Tensor
    """[K]."""
    l2: float
    """The penalty that was chosen."""

    def log_probabilities(self, layers: Tensor) -> Tensor:
        """[N, L, D] pooled layers to [N, K]."""
        mixed = torch.einsum("l,nld->nd", self.mixture, _standardized(self.standardizer, layers))
        return F.linear(mixed, self.weight, self.bias).log_softmax(dim=1)


def fit_layer_probe(layers: Tensor, targets: Tensor, n_classes: int, config: WeightedLayersConfig, *, seed: int) -> LayerProbe:
    """Fit mixture and classifier together, the penalty chosen on held-out training rows.

    SUPERB (Yang et al. 2021, arXiv 2105.01051, section 3.2): the layers' outputs are summed with weights that are a softmax of
    learned numbers, averaged over time, and classified linearly; the network is frozen. Differences: averaging comes first,
    which is the same for a linear classifier and lets the network run once; every feature of a layer is standardised, so that a
    layer does not count for the size of its numbers; and in the place of Adam with a searched learning rate there is L-BFGS to
    convergence with a searched penalty.

    Args:
        layers: [N, L, D] float, mean over the tokens of each layer's output.
        targets: [N] long.
        n_classes: K.
        config: options.
        seed: of the folds.
    """
    standardizer = Standardizer.fit(layers.flatten(1))
    features = _standardized(standardizer, layers)
    path = sorted(config.l2, reverse=True)

    def scores(rest: Tensor, held: Tensor) -> Iterator[tuple[float, float]]:
        problem = _Problem(features[rest], targets[rest], n_classes)
        parameters = problem.start()
        for l2 in path:
            parameters, _ = minimise(problem, parameters, l2, config.tolerance, config.iterations)
            mixture, weight, bias = problem.parts(parameters)
            log_p = F.linear(torch.einsum("l,nld->nd", mixture, features[held]), weight, bias).log_softmax(dim=1)
            hits = float((log_p.argmax(dim=1) == targets[held]).sum())
            yield hits, cross_entropy(log_p, targets[held]) * int(held.sum())

    best = choose_penalty(targets, len(path), scores, seed=seed)
    problem = _Problem(features, targets, n_classes)
    mixture, weight, bias = problem.parts(
        minimise(problem, problem.start(), path[best], config.tolerance, config.iterations)[0]
    )
    return LayerProbe(standardizer, mixture, weight, bias, path[best])


def _standardized(standardizer: Standardizer, layers: Tensor) -> Tensor:
    return standardizer(layers.flatten(1)).view_as(layers)


class _Problem:
    """The loss and its gradient. Parameters are a vector: the mixture's L logits, the K x D weights, the K biases."""

    def __init__(self, features: Tensor, targets: Tensor, n_classes: int) -> None:
        self.features, self.targets = features, targets
        self.sizes = (features.shape[1], n_classes * features.shape[2], n_classes)

    def start(self) -> Tensor:
        """All layers alike, and no weights."""
        return self.features.new_zeros(sum(self.sizes))

    def parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mixture [L], weight [K, D] and bias [K]."""
        logits, weight, bias = torch.split(parameters, list(self.sizes))
        return logits.softmax(dim=0), weight.view(len(bias), -1), bias

    def curvature(self, penalty: float) -> Tensor:
        """That of a classifier on standardised features, at no weights."""
        n_layers, n_weights, n_classes = self.sizes
        diagonal = self.features.new_full((sum(self.sizes),), 1 / n_classes)
        diagonal[n_layers : n_layers + n_weights] += penalty
        return diagonal

    def loss_and_gradient(self, parameters: Tensor, penalty: float) -> tuple[float, Tensor]:
        """Mean cross-entropy + penalty/2 |weight|²."""
        with torch.enable_grad():
            moved = parameters.detach().requires_grad_()
            mixture, weight, bias = self.parts(moved)
            mixed = torch.einsum("l,nld->nd", mixture, self.features)
            fit = F.cross_entropy(F.linear(mixed, weight, bias), self.targets)
            loss = fit + 0.5 * penalty * weight.square().sum()
            (gradient,) = torch.autograd.grad(loss, moved)
        return float(loss), gradient


@dataclass(frozen=True)
class WeightedLayers:
    """Fits the probe of all layers on training rows and scores it on test rows."""

    config: WeightedLayersConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Accuracy, macro-F1, cross-entropy on ``test``, the penalty chosen, and how much each layer counts.

        ``layer_0`` are the tokens before the first layer.

        Raises:
            ArtifactError: the encoder's backbone has no tokens.
        """
        n_classes = class_count("weighted-layers", train, test)
        layers = [encoder.embed_layers(split.store, precision=split.precision) for split in (train, test)]
        probe = fit_layer_probe(layers[0], train.targets(), n_classes, self.config, seed=seed)
        counts = {f"layer_{i}": float(value) for i, value in enumerate(probe.mixture)}
        return {**classification_metrics(probe.log_probabilities(layers[1]), test.targets()), "l2": probe.l2, **counts}


RECIPE = EvaluatorRecipe(WeightedLayersConfig, WeightedLayers)
