"""From data sources to the training and test rows of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from selfsup.data import Rows, available_splits, load_source, prepare
from selfsup.errors import DataError, SourceError
from selfsup.evaluation.base import Split
from selfsup.registry import registry
from selfsup.training.progress import Reporter

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder
    from selfsup.specs import ModalitySpec

HELD_OUT = 0.2
"""Part of the rows that is held out for testing where a source has no test split."""


@dataclass(frozen=True)
class Splits:
    """Training and test rows, and where the latter come from."""

    train: Split
    test: Split
    name: str
    """What the user calls the training rows."""
    test_rows: str
    """One line that says which rows the numbers are of."""
    bad_rows: int
    """Rows that could not be read, in both."""


def load_splits(
    encoder: Encoder,
    data: Any,
    test: Any = None,
    *,
    label: str | None,
    needs_label: bool,
    columns: Mapping[str, str] | None = None,
    seed: int,
    max_bad_rows: float,
    precision: Literal["32", "bf16", "16"],
    reporter: Reporter,
) -> Splits:
    """Find, read and process the rows of an evaluation.

    The test rows are those of ``test``; without it the source's own test split, else its validation split, else a fifth of each
    class, drawn with ``seed``.

    Raises:
        SourceError: there is nothing usable at a source.
        ColumnError: a column is missing, or a test row is of a class that is not among the training rows.
        DataError: training and test rows are the same.
    """
    modality = registry().get("modality", encoder.modality)

    def load(source: Any, split: str) -> Rows:
        rows = load_source(source, modality=modality, split=split, columns=columns, label=label, needs_label=needs_label)
        # A column that only looks like labels (real numbers, rows without a class) shall not end what needs none.
        return rows if needs_label or label is not None else rows.without_labels()

    splits = available_splits(data, modality=modality)
    train_rows = load(data, "train" if "train" in splits else splits[0])
    if test is not None:
        of_test = available_splits(test, modality=modality)
        test_rows = load(test, "test" if "test" in of_test else of_test[0])
        note = f"{test_rows.name} ({test_rows.split})"
        if test_rows.fingerprint == train_rows.fingerprint:
            raise DataError(
                f"The test rows ({test_rows.name}) are the training rows, so the numbers would be of rows that were learned by "
                "heart. Give other rows with --test, or leave it out: then a part is held out."
            )
    elif (found := _own_test_rows(data, splits, modality, load)) is not None:
        test_rows = found
        note = f"{test_rows.name} ({test_rows.split})"
    else:
        train_rows, test_rows = train_rows.split_off(HELD_OUT, seed)
        part = f"{len(test_rows)} rows ({100 * HELD_OUT:g} %)"
        note = f"{part} of {train_rows.name}, held out with seed {seed}: it has no test split"
        reporter.message(f"Numbers are of {note}.")
    labelled = train_rows.label is not None and test_rows.label is not None
    names = train_rows.class_names if labelled else ()
    parts, bad = [], 0
    for what, rows in (("training", train_rows), ("test", test_rows)):
        # Labels first: a wrong label column is found before minutes of decoding.
        labels = rows.labels(names) if labelled else None
        reporter.start(f"reading {what} rows", len(rows), unit="rows")
        store = prepare(rows, encoder.processor, max_bad_rows=max_bad_rows, progress=lambda done, _: reporter.advance(done))
        if store.bad_rows:
            bad += len(store.bad_rows)
            share = f"{len(store.bad_rows)} of {len(rows)} {what} rows"
            reporter.message(f"{share} cannot be read and are left out; {store.bad_rows[0][1]}")
        kept = None if labels is None else labels[store.kept]
        parts.append(Split(store, kept, names, rows.fingerprint, precision, rows))
    return Splits(parts[0], parts[1], train_rows.name, note, bad)


def _own_test_rows(data: Any, splits: tuple[str, ...], modality: ModalitySpec, load: Any) -> Rows | None:
    """The source's own test (or validation) rows, where it has them."""
    if isinstance(data, str | os.PathLike) and os.fspath(data).startswith("hf://"):
        # What splits the hub has is known only after asking.
        for split in ("test", "validation"):
            try:
                rows: Rows = load(data, split)
            except SourceError:
                continue
            return rows if rows.split == split else None  # else the source names one split itself
        return None
    if "train" not in splits:
        return None
    held = next((split for split in ("test", "validation") if split in splits), None)
    return None if held is None else load(data, held)
