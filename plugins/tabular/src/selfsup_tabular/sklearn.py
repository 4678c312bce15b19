"""A scikit-learn transformer with self-supervised features, for pipelines and grid searches."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from selfsup.artifacts import Encoder
from selfsup.data import LabelKind, Rows, arrow_column, arrow_table, cache_in, content_fingerprint, hold_out, is_frame
from selfsup.registry import registry
from selfsup.training import pretrain, resolve_config

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
_ROWS = 1024
"""Rows per batch of embeddings."""


class SelfSupervisedFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Pretrains an encoder on the rows of a table, and embeds rows with it.

    ::

        features = SelfSupervisedFeatures(task="tabular/vime", epochs=50, random_state=0)
        model = make_pipeline(features, LogisticRegression(max_iter=1000))
        model.fit(X_train, y_train)

    ``X`` is a DataFrame (pandas, polars) with columns of numbers, texts, categories, booleans and dates, possibly with missing
    values, or a two-dimensional array. The processor of ``tabular`` handles the columns. Nothing is left on disk.

    Args:
        task: id of the pretext task (``selfsup list tasks --modality tabular``).
        backbone: id of the backbone; None: the task's default.
        epochs: passes over the rows; None: the task's default, unless ``steps`` is given.
        steps: optimizer steps instead of ``epochs``.
        batch_size: rows per step, at most the number of rows; None: the task's default.
        lr: peak learning rate; None: the task's default.
        options: further options by dotted key, as with ``--set``: ``{"views.rate": 0.4, "processor.scaling": "standard"}``. In
            a pipeline all rows of :meth:`fit` are training rows; ``{"holdout": 0.2}`` leaves some of them out.
        precision: arithmetic of the training: ``32``, ``bf16``, ``16`` or ``auto``.
        random_state: of the weights, the order of the rows and all corruption.
        progress: show the progress of the training on stderr.

    Attributes:
        encoder_: the :class:`selfsup.Encoder`; save it with ``encoder_.save(folder)``. It stores hashes of the rows of
            :meth:`fit`, so that :func:`selfsup.evaluate` warns if test rows are among them.
        n_features_in_: number of columns in :meth:`fit`.
        feature_names_in_: their names, if all are strings.
        classes_: the classes in ``y``, for tasks with labels; column numbers of ``y`` if a row has several classes.
    """

    encoder_: Encoder
    n_features_in_: int

    def __init__(
        self,
        task: str = "tabular/scarf",
        *,
        backbone: str | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        options: Mapping[str, Any] | None = None,
        precision: str = "32",
        random_state: int | np.random.RandomState | None = None,
        progress: bool = False,
    ) -> None:
        self.task = task
        self.backbone = backbone
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.options = options
        self.precision = precision
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> Self:
        """Pretrain on the rows of ``X``.

        Args:
            X: [n, columns], at least two rows.
            y: [n] classes or numbers (floats with a fraction), or [n, K] zeros and ones if a row may have several classes;
                used only by tasks with labels (``tabular/supervised``). scikit-learn's ``type_of_target`` decides.

        Raises:
            ValueError: ``X`` is not a table, or needed labels are missing.
            SelfsupError: an option is not allowed, or the rows cannot be used.
        """
        rows = self._rows(X, reset=True)
        if registry().get("task", self.task).needs_labels:
            if y is None:
                raise ValueError(f"The task {self.task!r} needs labels, but y is None: call fit(X, y).")
            rows = self._labelled(rows, y)
        given = {
            **dict(self.options or {}),
            "backbone": self.backbone,
            "epochs": self.epochs,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "precision": self.precision,
            "seed": int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)),
        }
        given = {key: value for key, value in given.items() if value is not None}
        config = resolve_config({**given, "task": self.task, "data": rows.name})
        trained = hold_out(rows, config.holdout)[0] if config.holdout else rows
        given["batch_size"] = min(config.optimization.batch_size, len(trained))
        with tempfile.TemporaryDirectory(prefix="selfsup-") as folder, cache_in(Path(folder) / "cache"):
            run = pretrain(self.task, rows, out=Path(folder) / "run", overrides=given, progress=self.progress)
            self.encoder_ = run.encoder
        return self

    def _labelled(self, rows: Rows, y: Any) -> Rows:
        """The rows with a column of labels."""
        target = type_of_target(y, input_name="y", raise_unknown=True)
        if target == "multilabel-indicator":
            hot = np.asarray(y.toarray() if hasattr(y, "toarray") else y) > 0
            self.classes_ = np.arange(hot.shape[1])
            return _with_labels(rows, [np.flatnonzero(row).tolist() for row in hot], "classes")
        values = column_or_1d(y, warn=True)
        if target == "continuous":
            return _with_labels(rows, np.asarray(values, dtype=np.float64).tolist(), "number")
        self.classes_, codes = np.unique(values, return_inverse=True)
        return _with_labels(rows, codes.tolist(), "class")

    def transform(self, X: Any) -> FloatArray:
        """[n, D] float32, the embedding of each row of ``X``, which has the columns of :meth:`fit`.

        Raises:
            ValueError: ``X`` has other columns.
            BadRowError: a row cannot be processed.
        """
        check_is_fitted(self, "encoder_")
        rows = self._rows(X, reset=False)
        # In float32 the rounding of a row's embedding would depend on the size of its batch.
        backbone = copy.deepcopy(self.encoder_.backbone).double().eval()
        parts = []
        with torch.inference_mode():
            for _, table in rows.tables():
                for start in range(0, len(table), _ROWS):
                    batch = self.encoder_.processor(table.slice(start, _ROWS))
                    moved = {key: value.to(self.encoder_.device) for key, value in batch.items()}
                    exact = {key: value.double() if value.is_floating_point() else value for key, value in moved.items()}
                    parts.append(backbone(exact).pooled.float().cpu())
        embeddings: FloatArray = torch.cat(parts).numpy()
        return embeddings

    @property
    def _n_features_out(self) -> int:
        """D, for the names of features."""
        return self.encoder_.embed_dim

    def _rows(self, X: Any, *, reset: bool) -> Rows:
        """Check ``X`` as scikit-learn does, and read its columns."""
        if is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if reset and len(X) < 2:
                raise ValueError(f"X has n_samples={len(X)}, but pretraining needs at least two rows.")
            return _rows_of(arrow_table(X))
        array = validate_data(
            self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan", ensure_min_samples=2 if reset else 1
        )
        return _rows_of(pa.table({f"x{i}": _column(array[:, i]) for i in range(array.shape[1])}))

    def __sklearn_tags__(self) -> Any:
        """Capabilities for scikit-learn: missing values, texts and categories are allowed; the output is always float32."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _rows_of(table: pa.Table) -> Rows:
    """The rows of an Arrow table; every column is its own role, and none is a label."""
    from datasets import Dataset

    dataset = Dataset(table)
    columns = {name: name for name in table.column_names}
    return Rows(dataset=dataset, columns=columns, name="X", fingerprint=content_fingerprint(dataset))


def _column(values: Any) -> pa.Array:
    """A column of an array as Arrow; Python objects become numbers if all of them are, else texts."""
    return arrow_column(values.tolist()) if values.dtype.kind in "OUS" else pa.array(np.ascontiguousarray(values))


def _with_labels(rows: Rows, labels: list[Any], kind: LabelKind) -> Rows:
    """Add a column of labels to rows."""
    name = "label"
    while name in rows.columns:
        name += "_"
    if len(labels) != len(rows):
        raise ValueError(f"X has {len(rows)} rows, but y has {len(labels)}.")
    return replace(rows, dataset=rows.dataset.add_column(name, labels), label=name, label_kind=kind)
