"""What evaluators ask of their splits before they start."""

from __future__ import annotations

import numpy as np

from selfsup.errors import ColumnError, DataError
from selfsup.evaluation.base import Split


def class_count(evaluator: str, train: Split, test: Split) -> int:
    """Number of classes K, where both splits are labelled and a classifier makes sense.

    Raises:
        ColumnError: a split has no labels.
        DataError: the training rows are all of one class.
    """
    for name, split in (("training", train), ("test", test)):
        if split.labels is None:
            raise ColumnError(
                f"The evaluator '{evaluator}' needs labels, and the {name} rows have none. "
                "Name the label column with --label, or use the evaluator 'geometry', which needs none."
            )
        if len(split.labels) == 0:
            raise DataError(f"The evaluator '{evaluator}' has no {name} rows.")
    labels = train.targets().numpy()
    classes = np.unique(labels)
    if len(classes) < 2:
        name = train.class_names[classes[0]] if train.class_names else str(classes[0])
        raise DataError(
            f"The evaluator '{evaluator}' needs rows of at least two classes, and all {len(labels)} training rows are of "
            f"class {name!r}. Add rows of another class, or use the evaluator 'geometry', which needs no labels."
        )
    return max(len(train.class_names), int(labels.max()) + 1, int(test.targets().max()) + 1)
