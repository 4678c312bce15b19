"""One cell of a grid: train, then score with so many labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import selfsup
from selfsup.artifacts import Encoder
from selfsup.errors import ConfigError
from selfsup.evaluation import Split
from selfsup.evaluation.evaluators.finetune import FinetuneConfig, finetune_encoder
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.evaluators.retrieval import recall_at
from selfsup.evaluation.maths.metrics import label_metrics
from selfsup.evaluation.splits import load_splits
from selfsup.evaluation.subsets import flipped_labels, labelled_subset
from selfsup.runtime.precision import resolve_precision
from selfsup.runtime.progress import Silent
from selfsup_bench.cells.boosting import BoostingConfig, boosted_outputs
from selfsup_bench.cells.raw_features import fitted_raw_encoder
from selfsup_bench.quality.grid_cell import RECALL, GridCell, Scores
from selfsup_bench.quality.tfidf import tfidf_outputs

IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]
Predict = Callable[[Split, IntArray, int], Tensor]
"""Training rows with their labels, the rows to use, and a seed to outputs for all test rows: log-probabilities [M, K] of
classes, log-odds [M, K] of several, or numbers [M]."""


def measure(cell: GridCell, folder: Path) -> Scores:
    """Scores of a cell by setting of the labels: the metrics of their kind, as of :mod:`selfsup.evaluation.maths.metrics`.

    Labelled rows are drawn as many of each class as of every other, or of each tenth of numbers; wrong labels
    (``label_noise``) are in training rows alone.

    Raises:
        SelfsupError: the training or the data fails.
    """
    encoder = _encoder(cell, folder)
    splits = load_splits(
        encoder,
        cell.dataset,
        label=cell.label or None,
        needs_label=True,
        seed=0,
        max_bad_rows=0.01,
        precision=resolve_precision("auto", "cpu"),
        reporter=Silent(),
    )
    train, test = splits.train, splits.test
    predict = _predictor(cell, encoder, test)
    scores: dict[str, dict[str, float]] = {}
    for setting in cell.labels:
        count = label_count(setting, len(train.store))
        draws = cell.repeats if count < len(train.store) else 1
        metrics: list[dict[str, float]] = []
        for draw in range(draws):
            seed = 1000 * cell.seed + draw
            labels = train.targets().numpy()
            noisy = flipped_labels(labels, cell.label_noise, seed=seed) if cell.label_noise else labels
            known = replace(train, labels=noisy)
            rows = labelled_subset(noisy, count / len(labels), seed=seed)
            metrics.append(label_metrics(train.label_kind, predict(known, rows, seed), test.targets()))
            if cell.modality in RETRIEVED and train.label_kind == "class" and not _trains_all(cell):
                metrics[-1] |= recalled(known, rows, test, encoder)
        scores[setting] = {name: float(np.mean([each[name] for each in metrics])) for name in metrics[0]}
    return scores


FINETUNE_STEPS = 200
"""Least optimizer steps of a training with the labels, where few of them make short epochs."""
FINETUNE_PREFIX = "finetune."
"""Overrides of a cell that are options of the training of all weights with the labels, and not of pretraining."""
RETRIEVED = ("video",)
"""Modalities whose literature reports retrieval."""


def recalled(train: Split, rows: IntArray, test: Split, encoder: Encoder) -> dict[str, float]:
    """R@1, R@5 and R@10 of test rows among the labelled training rows (Xu et al. 2019, CVPR, VCOP)."""
    chosen = torch.from_numpy(rows)
    gallery, labels = train.embeddings(encoder)[chosen], train.targets()[chosen]
    ks = (1, 5, 10)
    values = recall_at(test.embeddings(encoder), test.targets(), gallery, labels, ks)
    return {f"{RECALL}{k}": value for k, value in zip(ks, values, strict=True)}


def _trains_all(cell: GridCell) -> bool:
    """Whether the labels train all weights, so that the encoder's own embeddings are not what is scored."""
    return cell.method == "scratch" or cell.finetune


def label_count(setting: str, n: int) -> int:
    """How many of ``n`` labels a setting means: ``all``, ``5%`` or a number, which is at most ``n``.

    Raises:
        ConfigError: it is none of these.
    """
    if setting == "all":
        return n
    try:
        count = round(float(setting[:-1]) / 100 * n) if setting.endswith("%") else int(setting)
    except ValueError:
        count = 0
    if count < 1:
        raise ConfigError(f"labels={setting!r} is not allowed: give a number of labels, a share such as 5%, or all.")
    return min(count, n)


def _encoder(cell: GridCell, folder: Path) -> Encoder:
    if not cell.backbone:
        kind = cell.method if cell.method.startswith("raw-") else "raw"
        return fitted_raw_encoder(
            cell.modality, cell.dataset, kind=kind, overrides=dict(cell.overrides), label=cell.label or None
        )
    untrained = not cell.trained
    shared = ("backbone.", "processor.")
    given = {key: value for key, value in cell.overrides if not key.startswith(FINETUNE_PREFIX)}
    overrides = {key: value for key, value in given.items() if not untrained or key.startswith(shared)}
    if untrained:
        overrides["optimization.batch_size"] = 2  # of no use, but checked against the number of rows
    run = selfsup.pretrain(
        f"{cell.modality}/{'random-init' if untrained else cell.method}",
        cell.dataset,
        out=folder / "run",
        label=cell.label or None,
        backbone=cell.backbone,
        seed=cell.seed,
        steps=0 if untrained else cell.steps,
        probe_every=cell.steps + 1,
        progress=False,
        overrides=overrides,
    )
    return run.encoder


def _predictor(cell: GridCell, encoder: Encoder, test: Split) -> Predict:
    def probe(train: Split, rows: IntArray, seed: int) -> Tensor:
        chosen, targets = torch.from_numpy(rows), train.targets()
        n_classes = len(train.class_names)
        fitted = fit_probe(train.embeddings(encoder)[chosen], targets[chosen], n_classes, LinearConfig(), seed=seed)
        return fitted.outputs(test.embeddings(encoder))

    def boosting(train: Split, rows: IntArray, seed: int) -> Tensor:
        chosen, n_classes = torch.from_numpy(rows), len(train.class_names)
        known, new = train.embeddings(encoder)[chosen], test.embeddings(encoder)
        # At scikit-learn's 20 rows a leaf, few rows make no tree at all.
        config = BoostingConfig(leaf=max(1, min(20, len(rows) // 20)))
        return boosted_outputs(known, train.targets()[chosen], new, n_classes, config, seed=seed)

    def whole(train: Split, rows: IntArray, seed: int) -> Tensor:
        # The same rows as the others': the draw depends on labels, share and seed alone.
        options = {key.removeprefix(FINETUNE_PREFIX): value for key, value in cell.overrides if key.startswith(FINETUNE_PREFIX)}
        least = {"min_steps": FINETUNE_STEPS, **options}
        config = FinetuneConfig(fraction=len(rows) / len(train.store), epochs=cell.finetune_epochs, **least)
        model = finetune_encoder(encoder, train, config, seed=seed)
        return model.outputs(model.encoder.embed_store(test.store, precision=test.precision))

    def tfidf(train: Split, rows: IntArray, seed: int) -> Tensor:
        return tfidf_outputs(train, rows, test, seed=seed)

    if _trains_all(cell):
        return whole
    return {"boosting": boosting, "tf-idf": tfidf}.get(cell.method, probe)
