"""Check the splits of an evaluation before it starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfsup.data.sources.columns.labels import LabelKind
from selfsup.errors import ColumnError, ConfigError, DataError
from selfsup.evaluation.base import Split

_MEANING: dict[LabelKind, str] = {"class": "one class a row", "classes": "several classes a row", "number": "numbers"}


def check_kind(evaluator: str, kind: LabelKind, kinds: Sequence[str]) -> None:
    """Refuse labels that an evaluator cannot measure with.

    Raises:
        ConfigError: ``kind`` is not among ``kinds``.
    """
    if kind not in kinds:
        able = " or ".join(_MEANING[each] for each in _MEANING if each in kinds)
        raise ConfigError(
            f"The evaluator {evaluator!r} needs labels of {able}, and these are {_MEANING[kind]}. Use others "
            "(--evaluators knn,linear), name another column with --label, or say what the column holds with --label-kind."
        )


def class_count(evaluator: str, train: Split, test: Split) -> int:
    """Number of classes K, where both splits are labelled with one class a row and a classifier makes sense.

    Raises:
        ConfigError: the labels are of another kind.
        ColumnError: a split has no labels.
        DataError: the training rows are all of one class.
    """
    return output_count(evaluator, train, test, kinds=("class",))


def output_count(evaluator: str, train: Split, test: Split, *, kinds: Sequence[str] = ("class", "classes", "number")) -> int:
    """How many outputs a model of these labels has: one a class, or one for numbers; checks that it can be fitted.

    Raises:
        ConfigError: the labels are of a kind that is not among ``kinds``.
        ColumnError: a split has no labels.
        DataError: the training rows all have one label, so that there is nothing to tell apart.
    """
    for name, split in (("training", train), ("test", test)):
        if split.labels is None:
            raise ColumnError(
                f"The evaluator '{evaluator}' needs labels, and the {name} rows have none. "
                "Name the label column with --label, or use the evaluator 'geometry', which needs none."
            )
        check_kind(evaluator, split.label_kind, kinds)
        if len(split.labels) == 0:
            raise DataError(f"The evaluator '{evaluator}' has no {name} rows.")
    assert train.labels is not None
    assert test.labels is not None
    labels = train.labels
    if train.label_kind == "class":
        classes = np.unique(labels)
        if len(classes) < 2:
            name = train.class_names[classes[0]] if train.class_names else str(classes[0])
            raise DataError(
                f"The evaluator '{evaluator}' needs rows of at least two classes, and all {len(labels)} training rows are of "
                f"class {name!r}. Add rows of another class, or use the evaluator 'geometry', which needs no labels."
            )
        return max(len(train.class_names), int(labels.max()) + 1, int(test.labels.max()) + 1)
    if (labels == labels[:1]).all():
        what = f"have the label {labels[0]:g}" if train.label_kind == "number" else "are of the same classes"
        raise DataError(
            f"The evaluator '{evaluator}' needs labels that differ, and all {len(labels)} training rows {what}. "
            "Name another column with --label, or use the evaluator 'geometry', which needs no labels."
        )
    return labels.shape[1] if labels.ndim == 2 else 1
