"""Probe the embeddings with labels during a run, without any effect on the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from selfsup.backbones import Backbone
from selfsup.data.batches.permutation import IndexArray
from selfsup.data.batches.work_division import WorkDivision
from selfsup.data.sources.columns.labels import LabelArray, strata
from selfsup.errors import DataError
from selfsup.evaluation.maths.metrics import accuracy, regression_metrics, several_classes_metrics
from selfsup.evaluation.maths.ridge import fit_ridge
from selfsup.runtime.module_mode import evaluation_mode
from selfsup.runtime.randomness import preserved
from selfsup.types import Batch

MAX_ROWS = 2000
"""Most rows of a probe; more would cost too much time."""
MONITORED_ROWS = 256
"""Rows whose embeddings the collapse monitor checks."""
PROBE_METRICS = {"class": "probe_accuracy", "classes": "probe_map", "number": "probe_r2"}
"""Name of the probe's score by the kind of labels."""
_RIDGE = 1e-2
"""L2 penalty as a fraction of the mean eigenvalue of the Gram matrix."""


class OnlineProbe:
    """Score of a ridge regression on frozen embeddings of labelled rows: one half fits it, the other half scores it.

    Args:
        labels: of the validation rows: [N] class ids, [N, K] zeros and ones of several classes, or [N] numbers.
        seed: of the choice of rows (at most 2,000) and of the halves; both have equally many rows of each class.
        source: where the rows come from (name, split, fingerprint).

    Raises:
        DataError: fewer than two classes have two rows, or all labels are equal.
    """

    def __init__(self, labels: LabelArray, seed: int, source: Mapping[str, str] | None = None) -> None:
        self.source = dict(source or {})
        """Source of the rows, for ``run.json``."""
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(labels))[:MAX_ROWS])
        order = chosen[np.argsort(rng.permutation(len(chosen)))]
        groups = strata(labels)
        order = order[np.argsort(groups[order], kind="stable")]
        fit, score = order[0::2], order[1::2]
        several, numbers = labels.ndim == 2, labels.dtype.kind == "f"
        if several or numbers:
            if len(score) < 2 or any((part == part[:1]).all() for part in (labels[fit], labels[score])):
                raise DataError(
                    f"the {len(labels)} validation rows (--val) are too few for a probe, or have labels that are all equal. "
                    "Choose other rows, or leave --val out."
                )
        elif len(np.intersect1d(labels[fit], labels[score])) < 2:
            raise DataError(
                f"the validation rows (--val) have {len(np.unique(labels))} class(es), and a probe needs two classes with "
                "at least two rows each. Choose other rows, or leave --val out."
            )
        self.indices = np.concatenate([fit, score])
        """Indices into the validation store: the rows to fit on, then the rows to score."""
        self.metric = PROBE_METRICS["number" if numbers else "classes" if several else "class"]
        """Name of the score in the run's metrics; higher is better."""
        self._n_fit = len(fit)
        self._targets = torch.from_numpy(labels[self.indices] if several or numbers else self._ids(labels))

    def _ids(self, labels: LabelArray) -> LabelArray:
        found: LabelArray = np.unique(labels[self.indices], return_inverse=True)[1]
        return found

    def score(self, embeddings: Tensor) -> float:
        """Accuracy (0..1), mAP (0..1) or R² (at most 1) on the scored half.

        Args:
            embeddings: [N, D] of the rows ``indices``.
        """
        features = embeddings.double().cpu()
        fit, score = features[: self._n_fit], features[self._n_fit :]
        known, wanted = self._targets[: self._n_fit], self._targets[self._n_fit :]
        classes = not known.is_floating_point() and known.dim() == 1
        targets = functional.one_hot(known, int(self._targets.max()) + 1).double() if classes else known.double()
        mean, scale = fit.mean(dim=0), fit.std(dim=0).clamp_min(1e-12)
        fit = (fit - mean) / scale
        # A fraction of the mean eigenvalue of the Gram matrix.
        penalty = _RIDGE * float(fit.square().mean(dim=0).sum()) / min(fit.shape) + 1e-12
        prediction = fit_ridge(fit, targets, [penalty])[0].predict((score - mean) / scale)
        if classes:
            return accuracy(prediction.argmax(dim=1), wanted)
        if known.dim() == 2:
            return several_classes_metrics(prediction - 0.5, wanted)["map"]
        return regression_metrics(prediction, wanted)["r2"]


@torch.no_grad()
def embed(
    backbone: Backbone, batches: Iterable[Batch], division: WorkDivision | None = None, count: int = 0
) -> dict[str, Tensor]:
    """Pooled embeddings in evaluation mode, float32 on the CPU; modes and random state are restored.

    Args:
        backbone: the network.
        batches: of this process.
        division: of all batches over processes; None: this process has all.
        count: number of all batches, with ``division``.

    Returns:
        The embeddings of whole rows, [N, D], with an empty name; and part name to the embeddings of the rows that have the
        part, [n, part_dims[part]].
    """
    found: dict[str, list[Tensor]] = {}
    with preserved(), evaluation_mode(backbone):
        outputs: Iterable[dict[str, Tensor]] = (_embedded(backbone, batch) for batch in batches)
        for output in outputs if division is None else division.outputs(outputs, count):
            for name, pooled in output.items():
                found.setdefault(name, []).append(pooled)
    return {name: torch.cat(parts) for name, parts in found.items()}


def _embedded(backbone: Backbone, batch: Batch) -> dict[str, Tensor]:
    encoded = backbone(batch)
    found = {"": encoded.pooled.float().cpu()}
    for name, own in (encoded.parts or {}).items():
        pooled = own.pooled.float().cpu()
        found[name] = pooled if own.valid is None else pooled[own.valid.cpu()]
    return found


def batches_of(indices: IndexArray, size: int) -> Iterator[IndexArray]:
    """Cut indices into pieces of at most ``size``."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
