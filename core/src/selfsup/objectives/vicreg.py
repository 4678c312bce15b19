"""VICReg's loss: variance, invariance, covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, Term, ViewEmbeddings
from selfsup.objectives.parts.collapse import output_std
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import (
    counted,
    counted_everywhere,
    global_mean,
    in_both_views,
    only_valid,
    valid_mean,
    zero_if_none,
)
from selfsup.runtime.distributed import gather, mean_over_ranks, world_size

EPS = 1e-4
"""Added to the variances (paper: 1e-4)."""


class VICRegTerms(NamedTuple):
    """The three terms, each a scalar."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor

    def weighted(self, invariance: float, variance: float, covariance: float) -> Tensor:
        """Their weighted sum."""
        return invariance * self.invariance + variance * self.variance + covariance * self.covariance

    def scaled(self, factor: float) -> VICRegTerms:
        """The three times ``factor``."""
        return VICRegTerms(*(factor * term for term in self))

    def by_weight(self, weights: tuple[float, float, float], valid: Tensor) -> tuple[Term, Term]:
        """What adds up to the weighted sum: a mean over the samples of this device that count, and one over all devices'."""
        over_rows = Term(weights[0] * self.invariance, counted(valid, self.invariance))
        return over_rows, Term(weights[1] * self.variance + weights[2] * self.covariance)

    def metrics(self) -> dict[str, Tensor]:
        """The terms without gradient."""
        return {name: term.detach() for name, term in self._asdict().items()}


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """The sum of scalars, from the first to the last."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def variance_covariance(x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Variance and covariance terms of one view (Bardes et al. 2021, arXiv:2105.04906, equations 1 to 4) over the global batch.

    Args:
        x: [B, P], or [B, M, P] for M embeddings a sample, each regularised apart and the mean taken (VICRegL).
        valid: [B] bool, the samples that count; None: all. Where none does, both terms are 0.

    Returns:
        Two scalars: the mean hinge 1 - std, and the squared covariances off the diagonal, summed and divided by P.
    """
    centred = only_valid(x - global_mean(x, valid), valid)
    count = None if valid is None else counted_everywhere(valid, x)
    n = len(x) * world_size()
    unbiased = n / max(n - 1, 1) if count is None else count / (count - 1).clamp_min(1)
    variances = global_mean(centred.square(), valid) * unbiased
    by_place = centred if x.ndim == 2 else centred.transpose(0, 1)
    squares = squared_covariances(by_place, count=count) * unbiased**2 - variances.square().sum(dim=-1)
    hinge = F.relu(1 - (variances + EPS).sqrt()).mean()
    return hinge if count is None else zero_if_none(hinge, count), squares.mean() / x.shape[-1]


def squared_covariances(a: Tensor, b: Tensor | None = None, count: Tensor | None = None) -> Tensor:
    """Sum of the squares of all entries of the second moment A^T B / N over the global batch.

    With fewer samples than dimensions it is taken from the products of samples, which has the same sum of squares
    (||A^T B||^2 = <A A^T, B B^T>) and is N x N in place of P x P.

    Args:
        a: [..., B, P].
        b: as ``a``; None: ``a`` itself.
        count: scalar, N where it is not that of all rows; those that do not count hold zeros.

    Returns:
        [...]. Its mean over the ranks is the sum, and so are its gradients.
    """
    local = a.shape[-2]
    n: int | Tensor = local * world_size()
    if local * world_size() >= a.shape[-1]:
        moment = mean_over_ranks(a.mT @ (a if b is None else b) / local)
        if count is not None:
            moment = moment * (n / count.clamp_min(1))
        return moment.square().sum(dim=(-2, -1))
    products = a @ _all_samples(a).mT
    others = products if b is None else b @ _all_samples(b).mT
    n = n if count is None else count.clamp_min(1)
    return (products * others).sum(dim=(-2, -1)) * (world_size() / n**2)


def _all_samples(x: Tensor) -> Tensor:
    """[..., B, P] to [..., world_size * B, P]."""
    return gather(x.transpose(0, -2)).transpose(0, -2)


def vicreg_terms(a: Tensor, b: Tensor, valid: Tensor | None = None) -> VICRegTerms:
    """The terms of VICReg (Bardes et al. 2021, arXiv:2105.04906, equation 6) for two views, [B, P] or [B, M, P] each.

    As in the authors' code (and lightly), the invariance is the mean over B and P (the paper's equation 5 sums over P) and the
    variance term is half the sum of both views, for which the weights 25, 25, 1 are made; the covariance term is the sum of
    both. solo-learn does not halve the variance, so that its weight of 25 counts twice.

    Of ``valid`` ([B] bool; None: all) are the samples that count. The invariance is the mean over those of this device, the
    other terms are the same on every device.
    """
    a, b = only_valid(a, valid), only_valid(b, valid)
    variance_a, covariance_a = variance_covariance(a, valid)
    variance_b, covariance_b = variance_covariance(b, valid)
    invariance = F.mse_loss(a, b) if valid is None else valid_mean((a - b).square().flatten(1).mean(dim=1), valid)
    return VICRegTerms(invariance, (variance_a + variance_b) / 2, covariance_a + covariance_b)


def vicreg(a: Tensor, b: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> Tensor:
    """VICReg's loss, the weighted sum of :func:`vicreg_terms`."""
    return vicreg_terms(a, b).weighted(invariance, variance, covariance)


class VICRegConfig(Config):
    """VICReg (Bardes et al. 2021, arXiv:2105.04906)."""

    invariance_weight: float = Field(default=25.0, ge=0)
    """Lambda, the weight of the distance between views (paper: 25)."""
    variance_weight: float = Field(default=25.0, ge=0)
    """Mu, the weight of the hinge on each dimension's standard deviation (paper: 25)."""
    covariance_weight: float = Field(default=1.0, ge=0)
    """Nu, the weight of the covariances (paper: 1)."""
    hidden_dim: int = Field(default=8192, ge=1)
    """Width of the expander's hidden layers (paper: 8192)."""
    output_dim: int = Field(default=8192, ge=1)
    """Width of the embedding that is regularised (paper: 8192)."""


class VICReg(JointEmbeddingObjective):
    """Variance-invariance-covariance regularisation behind an expander of three layers."""

    Config = VICRegConfig
    handles_absent = True
    config: VICRegConfig

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Three layers."""
        hidden = self.config.hidden_dim
        return mlp([embed_dim, hidden, hidden, self.config.output_dim])

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        config = self.config
        (a, b), valid = embeddings.online, in_both_views(embeddings)
        terms = vicreg_terms(a, b, valid)
        weights = (config.invariance_weight, config.variance_weight, config.covariance_weight)
        metrics = {**terms.metrics(), "output_std": output_std(a, valid)}
        return LossOutput(terms.weighted(*weights), metrics, None, () if valid is None else terms.by_weight(weights, valid))


RECIPE = ObjectiveRecipe(
    config=VICRegConfig,
    build=VICReg,
    optimization={
        "optimizer": "lars",
        "base_lr": 0.2,
        "weight_decay": 1e-6,
        "warmup_epochs": 10,
        "final_lr_fraction": 0.001,
    },
)
