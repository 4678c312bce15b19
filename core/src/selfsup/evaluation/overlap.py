"""Find and report test rows that were pretrained on, repeat training rows, or have classes of their own."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from selfsup.data import Rows, row_hashes
from selfsup.data.batches.permutation import IndexArray
from selfsup.errors import PretrainedRowsWarning
from selfsup.registry import registry
from selfsup.runtime.progress import Reporter, Silent

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

MANY_REPEATED = 0.01
"""A larger share of test rows that repeat a training row is reported."""
_MANY_PARTS = 0.1
"""The same for test rows with a part that was pretrained on; it is higher, because captions repeat without harm."""


def comparable(encoder: Encoder, rows: Rows) -> bool:
    """Whether the rows have all columns that the pretraining rows were hashed by."""
    learned = encoder.pretraining_rows
    return learned is not None and set(learned.roles) <= {*rows.columns, *([rows.label] if rows.label else [])}


def pretrained_share(encoder: Encoder, test: Rows, kept: IndexArray) -> float | None:
    """Share of the kept test rows that the encoder has learned from, 0 to 1; None if that is unknown."""
    learned = encoder.pretraining_rows
    if learned is None or not (learned.different == 0 or comparable(encoder, test)):
        return None
    return 0.0 if learned.different == 0 else learned.share(row_hashes(test, learned.roles)[kept])


def repeated_share(train: Rows, test: Rows, kept_train: IndexArray, kept_test: IndexArray) -> float:
    """Share of the kept test rows that equal a kept training row, 0 to 1."""
    known = row_hashes(train)[kept_train]
    return float(np.isin(row_hashes(test)[kept_test], known).mean())


def tell_pretrained(share: float | None, encoder: Encoder, test: Rows, reporter: Reporter) -> None:
    """Report which share of the test rows was pretrained on.

    Where nobody reads messages, warn with a :class:`~selfsup.errors.PretrainedRowsWarning`.
    """
    if share is None:
        learned = encoder.pretraining_rows
        reason = "the encoder has no list of its rows"
        if learned is not None:
            lacking = ", ".join(role for role in learned.roles if role not in {*test.columns, test.label})
            reason = f"these rows lack {lacking}, by which it recognises its own" if lacking else "its list of them is a sample"
        reporter.message(f"It is not known whether the test rows were pretrained on: {reason}.")
    elif share:
        labels = registry().tasks.get(encoder.task)
        seen = "with their labels" if labels is not None and labels.needs_labels else "without their labels"
        text = (
            f"{100 * share:.3g} % of the test rows were pretrained on ({seen}), so the numbers may be better than on new rows. "
            "Pretrain with --holdout 0.2, which leaves out rows to test on, or give other rows with --test."
        )
        if type(reporter) is Silent:  # the reporter of plain lines is one of its kind
            warnings.warn(text, PretrainedRowsWarning, stacklevel=4)  # the line that calls evaluate or finetune
        reporter.message(f"Warning: {text}")


def tell_pretrained_parts(encoder: Encoder, test: Rows, share: float, reporter: Reporter) -> None:
    """Report parts of test rows that were pretrained on in other rows, such as a picture with another caption."""
    known = encoder.pretraining_rows.parts if encoder.pretraining_rows is not None else {}
    for part, learned in known.items():
        if share > 1 - _MANY_PARTS or part not in test.parts or not test.has_part(part).any():
            continue
        own = test.of_part(part)
        seen = learned.share(row_hashes(own, learned.roles)) if set(learned.roles) <= set(own.columns) else None
        if seen is not None and seen - share > _MANY_PARTS:
            reporter.message(
                f"Warning: the part {part!r} of {100 * seen:.3g} % of the test rows was pretrained on with other parts, so "
                "the numbers may be better than for a new one. Give rows without those with --test."
            )


def tell_new_classes(train: Rows, test: Rows, reporter: Reporter) -> None:
    """Report classes that test rows have and training rows lack."""
    names, kind = train.class_names, train.label_reader.kind
    if kind == "number":
        return
    known, asked = train.labels(), test.labels()
    if kind == "class":
        new = np.setdiff1d(asked, known)
        rows = int(np.isin(asked, new).sum())
    else:
        new = np.flatnonzero((asked == 1).any(axis=0) & ~(known == 1).any(axis=0))
        rows = int((asked[:, new] == 1).any(axis=1).sum())
    if len(new):
        shown = ", ".join(repr(names[i]) for i in new[:5]) + (", ..." if len(new) > 5 else "")
        reporter.message(
            f"Warning: {len(new)} class{'es' * (len(new) > 1)} of the test rows ({shown}; {rows} of {len(test)} rows) "
            f"{'is' if len(new) == 1 else 'are'} not among the training rows, so no model can predict them."
        )
