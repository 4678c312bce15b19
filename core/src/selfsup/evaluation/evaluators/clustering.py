"""Cluster the embeddings with k-means and compare the clusters with the labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import class_count

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


def hungarian_accuracy(clusters: Tensor, targets: Tensor) -> float:
    """Accuracy under the best one-to-one naming of clusters as classes (Xie et al. 2016, DEC, arXiv 1511.06335, eq. 10).

    Args:
        clusters: [N] long.
        targets: [N] long.
    """
    n = int(torch.cat([clusters, targets]).max()) + 1
    table = torch.bincount(clusters * n + targets, minlength=n * n).view(n, n).numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(targets))


def kmeans(embeddings: Tensor, n_clusters: int, *, n_init: int, seed: int) -> Tensor:
    """Cluster ids [N] of the best of ``n_init`` runs of Lloyd's algorithm from k-means++ starts (scikit-learn's)."""
    model = KMeans(n_clusters=n_clusters, n_init=n_init, random_state=seed)
    with warnings.catch_warnings():
        # Collapsed embeddings have fewer distinct points than clusters, which shows in the score.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(model.fit_predict(embeddings.numpy()).astype(np.int64))


class ClusteringConfig(Config):
    """Options of the clustering evaluator."""

    n_clusters: int = Field(default=0, ge=0)
    """Number of clusters; 0: the number of classes among the test rows."""
    n_init: int = Field(default=10, ge=1)
    """Number of starts; the result with the lowest k-means loss is kept."""
    normalize: bool = True
    """Whether to normalise embeddings to length 1 first."""


@dataclass(frozen=True)
class Clustering:
    """Clusters the test rows and compares with their labels."""

    config: ClusteringConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Hungarian accuracy, normalised mutual information (arithmetic mean) and adjusted Rand index on ``test``."""
        class_count("clustering", test, test)
        targets = test.targets()
        n_clusters = self.config.n_clusters or len(np.unique(targets.numpy()))
        if n_clusters > len(targets):
            raise ConfigError(f"clustering.n_clusters={n_clusters} is more than the {len(targets)} test rows.")
        embeddings = test.embeddings(encoder)
        if self.config.normalize:
            embeddings = F.normalize(embeddings, dim=1)
        clusters = kmeans(embeddings, n_clusters, n_init=self.config.n_init, seed=seed)
        return {
            "accuracy": hungarian_accuracy(clusters, targets),
            "nmi": float(normalized_mutual_info_score(targets.numpy(), clusters.numpy())),
            "ari": float(adjusted_rand_score(targets.numpy(), clusters.numpy())),
        }


RECIPE = EvaluatorRecipe(ClusteringConfig, Clustering)
