"""Measure the geometry of the embeddings (rank, alignment, uniformity), without labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.errors import DataError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.views import two_views

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_CHUNK = 1_024


def rankme(embeddings: Tensor, *, epsilon: float = 1e-7) -> float:
    """Effective rank: exp of the entropy of the normalised singular values, 1..min(N, D).

    Garrido et al. 2023 (RankMe, arXiv 2210.02885, eq. 1-2): p_k = σ_k / |σ|₁ + ε, exp(-Σ p_k log p_k). Embeddings are not
    centred. The singular values are taken from the float64 Gram matrix, whose rounding is below ε.

    Args:
        embeddings: [N, D].
        epsilon: ε.
    """
    x = embeddings.double()
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    p = sigma / sigma.sum().clamp_min(torch.finfo(torch.float64).tiny) + epsilon
    return float(torch.exp(-(p * p.log()).sum()))


def effective_dimension(embeddings: Tensor) -> float:
    """Participation ratio (Σ λ)² / Σ λ² of the eigenvalues λ of the covariance, 1..D; 0 if all embeddings are equal.

    Computed without eigenvalues as tr(C)² / tr(C²) (Gao et al. 2017, bioRxiv 214262).

    Args:
        embeddings: [N, D].
    """
    x = embeddings.double()
    x = x - x.mean(dim=0)
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    total = float(gram.square().sum())
    return float(gram.trace()) ** 2 / total if total > 0 else 0.0


def alignment(first: Tensor, second: Tensor, *, alpha: float = 2.0) -> float:
    """Mean distance to the power α between the normalised embeddings of two views of the same rows; lower is better.

    Wang and Isola 2020 (arXiv 2005.10242, section 4.1).

    Args:
        first: [N, D].
        second: [N, D], of the same rows.
        alpha: α.
    """
    distance = (F.normalize(first.double(), dim=1) - F.normalize(second.double(), dim=1)).norm(dim=1)
    return float(distance.pow(alpha).mean())


def uniformity(embeddings: Tensor, *, t: float = 2.0) -> float:
    """log of the mean over all pairs of exp(-t |x - y|²) of normalised embeddings; lower is more even over the sphere.

    Wang and Isola 2020 (arXiv 2005.10242, section 4.1.2). Computed in chunks, [1024, N] at once.

    Args:
        embeddings: [N, D], at least 2 rows.
        t: t.
    """
    x = F.normalize(embeddings, dim=1)
    n = len(x)
    total = 0.0
    for start in range(0, n, _CHUNK):
        similarity = x[start : start + _CHUNK] @ x.T
        # |x - y|² = 2 - 2 x·y on the sphere. Exclude pairs of a row with itself.
        kernel = similarity.sub_(1).mul_(2 * t).exp_()
        kernel.diagonal(offset=start).zero_()
        total += float(kernel.sum(dtype=torch.float64))
    return math.log(total / (n * (n - 1)))


class GeometryConfig(Config):
    """Options of the geometry evaluator."""

    rows: int = Field(default=10_000, ge=2)
    """Largest number of test rows, drawn with the seed (RankMe: 25,600)."""
    view_rows: int = Field(default=2_048, ge=1)
    """Largest number of them that are augmented twice for the alignment."""
    alpha: float = Field(default=2.0, gt=0)
    """Exponent of the alignment (Wang and Isola 2020: 2)."""
    t: float = Field(default=2.0, gt=0)
    """Temperature of the uniformity (Wang and Isola 2020: 2)."""


@dataclass(frozen=True)
class Geometry:
    """Describes the cloud of test embeddings."""

    config: GeometryConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """RankMe, effective dimension, uniformity, the mean standard deviation of a feature; with views also alignment.

        Raises:
            DataError: there are fewer than two test rows.
        """
        embeddings = test.embeddings(encoder)
        n = len(embeddings)
        if n < 2:
            raise DataError(f"The evaluator 'geometry' needs at least two test rows, and there is {n}.")
        order = np.random.default_rng(seed).permutation(n)
        embeddings = embeddings[torch.from_numpy(np.sort(order[: self.config.rows]))]
        metrics = {
            "rankme": rankme(embeddings),
            "effective_dimension": effective_dimension(embeddings),
            "uniformity": uniformity(embeddings, t=self.config.t),
            "std": float(F.normalize(embeddings, dim=1).std(dim=0).mean()),
        }
        if (views := two_views(encoder, test.store, order[: self.config.view_rows], seed=seed)) is not None:
            metrics["alignment"] = alignment(*views, alpha=self.config.alpha)
        return metrics


RECIPE = EvaluatorRecipe(GeometryConfig, Geometry)
