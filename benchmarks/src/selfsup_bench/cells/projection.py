"""Test embeddings in two dimensions, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfsup.data import LabelArray, strata
from selfsup_bench.records.record import Projection

IntArray = np.ndarray[Any, np.dtype[np.int64]]
MOST_ROWS = 400
"""Rows that are drawn at most."""
_FEWEST_FOR_TSNE = 50


def label_groups(labels: LabelArray, class_names: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    """What points are coloured by: classes; of numbers their fifths; of several classes the first one that a row has.

    Args:
        labels: of the rows, as ``Rows.labels()`` gives them.
        class_names: K.

    Returns:
        [N] ids of groups, and their names.
    """
    if labels.ndim == 2:
        none = len(class_names)
        return np.where(labels.any(axis=1), labels.argmax(axis=1), none).astype(np.int64), (*class_names, "none")
    if labels.dtype.kind != "f":
        return labels.astype(np.int64), tuple(class_names)
    groups = strata(labels, 5)
    names = [f"{labels[groups == group].min():.3g} to {labels[groups == group].max():.3g}" for group in np.unique(groups)]
    return np.unique(groups, return_inverse=True)[1].astype(np.int64), tuple(names)


def drawn_places(n: int, seed: int = 0) -> IntArray:
    """Which of ``n`` rows are drawn: at most :data:`MOST_ROWS`, the same ones for every encoder, in ascending order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:MOST_ROWS])


def project(
    embeddings: np.ndarray[Any, np.dtype[np.float32]],
    labels: np.ndarray[Any, np.dtype[np.int64]],
    *,
    places: IntArray,
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> Projection:
    """Draw embeddings in two dimensions: t-SNE (van der Maaten and Hinton 2008), or PCA where there are too few.

    Args:
        embeddings: [N, D].
        labels: [N] class ids.
        places: [N], the places of their rows in the source.
        class_names: by class id.
        seed: of t-SNE.
    """
    points = np.asarray(embeddings, dtype=np.float32)
    # Directions are what kNN by cosine and contrastive objectives compare.
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    points = np.nan_to_num(points)
    if len(points) >= _FEWEST_FOR_TSNE and points.std(axis=0).max() > 1e-6:
        from sklearn.manifold import TSNE

        drawn = TSNE(2, perplexity=30, init="pca", random_state=seed, max_iter=500).fit_transform(points)
        method = "t-SNE"
    else:
        drawn = _pca(points)
        method = "PCA"
    return Projection(
        method=method,
        x=tuple(round(float(value), 3) for value in drawn[:, 0]),
        y=tuple(round(float(value), 3) for value in drawn[:, 1]),
        labels=tuple(int(value) for value in labels),
        class_names=tuple(class_names),
        places=tuple(int(place) for place in places),
    )


def _pca(points: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any]:
    """The two directions of most variance; zeros where there is no second one."""
    centred = points - points.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    drawn = np.zeros((len(points), 2))
    found = centred @ directions[:2].T
    drawn[:, : found.shape[1]] = found
    return drawn
