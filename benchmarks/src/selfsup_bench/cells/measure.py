"""Measures an encoder for a cell: every evaluator on the same rows, and the few-label scores draw by draw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from selfsup.data import IndexArray
from selfsup.evaluation import (
    HEADLINES,
    FewLabels,
    LabelDraws,
    Predict,
    Split,
    Splits,
    choose_evaluators,
    few_label_metrics,
    load_splits,
    output_count,
    record_of,
)
from selfsup.runtime import Silent, resolve_precision
from selfsup_bench.cells.boosting import Boosting, BoostingConfig, boosted_outputs
from selfsup_bench.cells.cell import BOOSTING, EVALUATOR_PREFIX, FEW_LABELS, Cell, options_under
from selfsup_bench.cells.from_scratch import from_scratch
from selfsup_bench.records.record import Labels

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

ROWS = 2000
"""Number of test rows whose scores are kept singly; larger test splits keep the means of this many groups."""


@dataclass(frozen=True)
class Measured:
    """What the evaluators of a cell gave."""

    metrics: Mapping[str, float]
    """``evaluator.metric`` to value; of few labels the mean over the draws."""
    draws: Mapping[str, tuple[float, ...]]
    """Metric of few labels to its value in each draw."""
    rows: Mapping[str, tuple[float, ...]]
    """Metric of few labels to what each test row (or group of them) adds to it, averaged over the draws."""
    labels: Mapping[str, Labels]
    """Amount of labels to how many were drawn, from how many."""
    results: tuple[Mapping[str, Any], ...]
    """The evaluators' own result records, as JSON values."""


def measure_encoder(encoder: Encoder, cell: Cell, out: Path, *, data: Any = None, test: Any = None) -> Measured:
    """Run the evaluators of a cell.

    Args:
        encoder: on the device that it is measured on.
        cell: says the data set, the evaluators and their options.
        out: folder of the result records.
        data: source of the rows that probes are fitted on; None: the cell's data set.
        test: source of the rows that the numbers are of; None: its test split.

    Raises:
        SelfsupError: an evaluator cannot do it.
    """
    chosen = choose_evaluators(cell.evaluators, options_under(EVALUATOR_PREFIX, cell.overrides))
    splits = load_splits(
        encoder,
        cell.dataset if data is None else data,
        test,
        label=None,
        needs_label=any(spec.needs_labels for spec, _, _ in chosen),
        kinds={spec.id: spec.label_kinds for spec, _, _ in chosen if spec.needs_labels},
        seed=cell.seed,
        max_bad_rows=0.01,
        precision=resolve_precision("auto", encoder.device.type),
        reporter=Silent(),
    )
    metrics: dict[str, float] = {}
    draws: dict[str, tuple[float, ...]] = {}
    rows: dict[str, tuple[float, ...]] = {}
    labels: dict[str, Labels] = {}
    results: list[Mapping[str, Any]] = []
    trees = next((evaluator.config for _, _, evaluator in chosen if isinstance(evaluator, Boosting)), None)
    for spec, config, evaluator in chosen:
        began = time.perf_counter()
        if isinstance(evaluator, FewLabels):
            predict = _trees(encoder, splits, trees) if trees is not None else None
            if cell.kind == "scratch":
                predict = from_scratch(encoder, splits.test, evaluator.config)
            measured = evaluator.measure(encoder, splits.train, splits.test, seed=cell.seed, predict=predict)
            values = few_label_metrics(measured, HEADLINES[splits.train.label_kind])
            for each in measured:
                draws |= _draws(each)
                rows |= _rows(each)
                labels[each.amount] = Labels(drawn=each.labelled, pool=each.pool, overlap=round(each.overlap, 6))
        else:
            values = evaluator.evaluate(encoder, splits.train, splits.test, seed=cell.seed)
        record = record_of(encoder, splits, spec.id, config, values, cell.seed, time.perf_counter() - began)
        record.write(out)
        results.append(record.model_dump(mode="json"))
        metrics |= {f"{spec.id}.{name}": value for name, value in values.items()}
    return Measured(metrics, draws, rows, labels, tuple(results))


def _draws(each: LabelDraws) -> dict[str, tuple[float, ...]]:
    names = each.metrics[0]
    return {f"{FEW_LABELS}.{name}@{each.amount}": tuple(scores[name] for scores in each.metrics) for name in names}


def _rows(each: LabelDraws) -> dict[str, tuple[float, ...]]:
    """What rows add, rounded to what a draw changes; neighbouring rows of large test splits in groups of one size."""
    found: dict[str, tuple[float, ...]] = {}
    for name, values in each.rows.items():
        size = -(-len(values) // ROWS)
        whole = values[: len(values) // size * size].reshape(-1, size).mean(axis=1)
        found[f"{FEW_LABELS}.{name}@{each.amount}"] = tuple(round(float(value), 5) for value in whole)
    return found


def _trees(encoder: Encoder, splits: Splits, config: BoostingConfig) -> Predict:
    """Boosted trees on a few labels, with leaves that few rows can fill: at scikit-learn's 20 rows they make no tree at all."""
    new = splits.test.embeddings(encoder)
    n_classes = output_count(BOOSTING, splits.train, splits.test)

    def predict(train: Split, rows: IndexArray, draw: int) -> Tensor:
        chosen = torch.from_numpy(rows)
        known, targets = train.embeddings(encoder)[chosen], train.targets()[chosen]
        few = config.model_copy(update={"leaf": max(1, min(config.leaf, len(rows) // 20))})
        return boosted_outputs(known, targets, new, n_classes, few, seed=draw)

    return predict
