"""Logistic regression (multinomial, or one model per class) by L-BFGS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.evaluation.maths.lbfgs import minimise

_CHUNK_NUMBERS = 16_000_000
"""Logits that are held at once (64 MB in float32)."""
_MAX_EIGEN = 1024
"""Features beyond which the eigenbasis (cubic in their number) costs more than it saves."""


@dataclass(frozen=True)
class Standardizer:
    """Shifts and scales features to mean 0 and variance 1; features that do not vary become 0."""

    mean: Tensor
    """[D]."""
    scale: Tensor
    """[D], 1 / standard deviation, or 0."""

    @classmethod
    def fit(cls, features: Tensor) -> Standardizer:
        """From [N, D] features."""
        variance, mean = torch.var_mean(features, dim=0, correction=0)
        std = variance.sqrt()
        # Rounding alone leaves a constant column some spread; blown up to variance 1 it would be noise.
        varies = std > 1e-6 * features.abs().amax(dim=0).clamp_min(torch.finfo(features.dtype).tiny)
        return cls(mean, torch.where(varies, 1 / std, 0))

    def __call__(self, features: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        return (features - self.mean).mul_(self.scale)


@dataclass(frozen=True)
class Logistic:
    """A fitted classifier on standardised features."""

    weight: Tensor
    """[K, D]."""
    bias: Tensor
    """[K]."""
    iterations: int
    """Steps that the fit took."""

    def logits(self, features: Tensor) -> Tensor:
        """[N, D] features to [N, K]; the log-odds of each class where there is one regression a class."""
        return F.linear(features, self.weight, self.bias)

    def log_probabilities(self, features: Tensor) -> Tensor:
        """[N, D] features to [N, K], for one class a row."""
        return self.logits(features).log_softmax(dim=1)


@torch.no_grad()
def fit_path(
    features: Tensor,
    targets: Tensor,
    n_classes: int,
    l2: Iterable[float],
    *,
    weights: Tensor | None = None,
    start: Logistic | None = None,
    tolerance: float = 1e-5,
    max_iterations: int = 200,
) -> Iterator[Logistic]:
    """Fit one classifier for each penalty, each starting from the one before.

    Minimises mean cross-entropy + l2/2 |W|² over W [K, D] and the unpenalised bias. This is what
    ``sklearn.linear_model.LogisticRegression(C=1 / (N l2))`` minimises; for two classes, for which it keeps one vector in place
    of two opposite ones, with ``C=2 / (N l2)``. Where rows have several classes there is one binary regression a class, which
    is ``LogisticRegression(C=1 / (N l2))`` for each. L-BFGS (Nocedal 1980) runs in the eigenbasis of the
    features' covariance, where the Hessian is close to diagonal: at W = 0 the first step is Newton's. That saves most of the
    iterations on correlated features.

    Args:
        features: [N, D], centred; float32 or float64.
        targets: [N] long, in 0..n_classes-1; or [N, K] of 0 and 1, where a row may have several classes.
        n_classes: K.
        l2: penalties, above 0. From strong to weak is the quick order.
        weights: how much each row counts, [N], or [N, K] for each of several classes; None: all alike.
        start: where to begin; None: zeros.
        tolerance: stop when the quadratic model promises less than this, in nats.
        max_iterations: stop at the latest then.
    """
    problem = _Problem(features, targets, n_classes, weights)
    parameters = features.new_zeros(n_classes, features.shape[1] + 1)
    if start is not None:
        parameters = torch.cat([problem.into_basis(start.weight), start.bias.unsqueeze(1)], dim=1)
    for penalty in l2:
        parameters, iterations = minimise(problem, parameters, penalty, tolerance, max_iterations)
        yield Logistic(problem.out_of_basis(parameters[:, :-1]), parameters[:, -1].clone(), iterations)


class _Problem:
    """The loss and its gradient in the eigenbasis. Parameters are [K, D + 1], the bias last."""

    def __init__(self, features: Tensor, targets: Tensor, n_classes: int, weights: Tensor | None) -> None:
        self.features, self.targets, self.n_classes = features, targets, n_classes
        self.several = targets.dim() == 2
        self.weights = weights if weights is None or weights.dim() == 2 else weights.unsqueeze(1)
        self.basis: Tensor | None = None
        if features.shape[1] <= _MAX_EIGEN:
            variances, self.basis = _eigenbasis(features.T @ features / len(features))
        else:
            variances = features.square().mean(dim=0)
        self.variances = torch.cat([variances.clamp_min(0), variances.new_ones(1)])
        self.rows = max(1, _CHUNK_NUMBERS // n_classes)

    def into_basis(self, weight: Tensor) -> Tensor:
        return weight if self.basis is None else weight @ self.basis

    def out_of_basis(self, weight: Tensor) -> Tensor:
        return weight if self.basis is None else weight @ self.basis.T

    def curvature(self, penalty: float) -> Tensor:
        """[D + 1], the diagonal of the Hessian at W = 0, within the classes' zero-sum space."""
        diagonal = self.variances / (4 if self.several else self.n_classes)
        diagonal[:-1] += penalty
        return diagonal.clamp_min(1e-12)

    def loss_and_gradient(self, parameters: Tensor, penalty: float) -> tuple[float, Tensor]:
        weight, bias = parameters[:, :-1], parameters[:, -1]
        plain = self.out_of_basis(weight)
        gradient = torch.zeros_like(parameters)
        loss = torch.zeros((), dtype=torch.float64, device=plain.device)
        for first in range(0, len(self.features), self.rows):
            x, y = self.features[first : first + self.rows], self.targets[first : first + self.rows]
            weights = None if self.weights is None else self.weights[first : first + self.rows]
            losses, residual = (self._several if self.several else self._one)(torch.addmm(bias, x, plain.T), y)
            if weights is not None:
                losses, residual = losses * weights, residual * weights
            loss += losses.double().sum()
            gradient[:, :-1] += residual.T @ x
            gradient[:, -1] += residual.sum(dim=0)
        n = len(self.features)
        gradient /= n
        gradient[:, :-1] = self.into_basis(gradient[:, :-1]) + penalty * weight
        return float(loss) / n + 0.5 * penalty * float(weight.square().sum()), gradient

    @staticmethod
    def _one(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 1] losses and [n, K] gradients by the logits, of one class a row."""
        log_p = logits.log_softmax(dim=1)
        chosen = y.unsqueeze(1)
        losses = -log_p.gather(1, chosen)
        return losses, log_p.exp_().scatter_add_(1, chosen, log_p.new_full((len(y), 1), -1.0))

    @staticmethod
    def _several(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """[n, K] losses and gradients by the logits, of several classes a row."""
        y = y.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, y, reduction="none"), logits.sigmoid() - y


def _eigenbasis(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors. LAPACK may fail to converge in float32 where columns repeat each other; not in float64."""
    try:
        values, vectors = torch.linalg.eigh(covariance)
    except RuntimeError:  # torch.linalg.LinAlgError is one, under a name that is not exported
        values, vectors = torch.linalg.eigh(covariance.double())
    return values.to(covariance.dtype), vectors.to(covariance.dtype)
