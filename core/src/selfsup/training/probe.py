"""A cheap look at the embeddings while a run goes on. It sends no gradient, draws nothing, and leaves the model as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.data.sampler import IndexArray
from selfsup.errors import DataError
from selfsup.training.randomness import preserved
from selfsup.types import Batch

MAX_ROWS = 2000
"""More rows would make the look dearer than what it tells."""
MONITORED_ROWS = 256
"""Rows whose embeddings the collapse monitor looks at."""
_RIDGE = 1e-2
"""L2 penalty as a fraction of the mean eigenvalue of the Gram matrix."""


class OnlineProbe:
    """Accuracy of a ridge regression on the frozen embeddings of labelled rows, half of them to fit it and half to score it.

    Args:
        labels: [N] class ids of the validation rows.
        seed: draws which rows are used (at most 2,000) and which half is which; of each class both halves get as much.
        source: where the rows come from (name, split, fingerprint).

    Raises:
        DataError: fewer than two classes have two rows.
    """

    def __init__(self, labels: IndexArray, seed: int, source: Mapping[str, str] | None = None) -> None:
        self.source = dict(source or {})
        """What ``run.json`` says of the rows."""
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(labels))[:MAX_ROWS])
        order = chosen[np.argsort(rng.permutation(len(chosen)))]
        order = order[np.argsort(labels[order], kind="stable")]
        fit, score = order[0::2], order[1::2]
        kept = np.intersect1d(labels[fit], labels[score])
        if len(kept) < 2:
            raise DataError(
                f"the validation rows (--val) have {len(np.unique(labels))} class(es), and a probe needs two classes with "
                "at least two rows each. Choose other rows, or leave --val out."
            )
        self.indices = np.concatenate([fit, score])
        """Places in the validation store of the rows to embed: those to fit on, then those to score."""
        self._n_fit = len(fit)
        self._classes, ids = np.unique(labels[self.indices], return_inverse=True)
        self._ids = torch.from_numpy(ids)

    def accuracy(self, embeddings: Tensor) -> float:
        """Accuracy on the scored half, 0..1.

        Args:
            embeddings: [N, D] of the rows ``indices``.
        """
        features = embeddings.double().cpu()
        fit, score = features[: self._n_fit], features[self._n_fit :]
        mean = fit.mean(dim=0)
        scale = fit.std(dim=0).clamp_min(1e-12)
        prediction = ridge((fit - mean) / scale, self._targets(), (score - mean) / scale).argmax(dim=1)
        return float((prediction == self._ids[self._n_fit :]).double().mean())

    def _targets(self) -> Tensor:
        """[N, classes], one-hot around zero."""
        one_hot = torch.nn.functional.one_hot(self._ids[: self._n_fit], len(self._classes)).double()
        return one_hot - one_hot.mean(dim=0)


def ridge(train: Tensor, targets: Tensor, test: Tensor) -> Tensor:
    """Predictions of a ridge regression, solved in the smaller of its primal and dual forms.

    Args:
        train: [N, D], centred.
        targets: [N, C].
        test: [M, D].

    Returns:
        [M, C].
    """
    n, d = train.shape
    penalty = _RIDGE * float(train.square().sum()) / min(n, d) + 1e-12
    if d <= n:
        gram = train.T @ train + penalty * torch.eye(d, dtype=train.dtype)
        solution: Tensor = torch.linalg.solve(gram, train.T @ targets)
        return test @ solution
    gram = train @ train.T + penalty * torch.eye(n, dtype=train.dtype)
    solution = torch.linalg.solve(gram, targets)
    return test @ (train.T @ solution)


@torch.no_grad()
def embed(backbone: Backbone, batches: Iterable[Batch]) -> Tensor:
    """Pooled embeddings in evaluation mode, [N, D] float32 on the CPU; modes and random state are given back as they were."""
    with preserved(), evaluation_mode(backbone):
        return torch.cat([backbone(batch).pooled.float().cpu() for batch in batches])


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def batches_of(indices: IndexArray, size: int) -> Iterator[IndexArray]:
    """Cut indices into pieces of at most ``size``."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
