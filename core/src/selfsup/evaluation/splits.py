"""From data sources to the training and test rows of an evaluation."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selfsup.data import Findings, Rows, available_splits, hold_out, load_source, prepare, row_hashes
from selfsup.data.content_hash import held_out
from selfsup.data.decoder_noise import caught_noise
from selfsup.data.sampler import IndexArray
from selfsup.errors import DataError, PretrainedRowsWarning, SourceError
from selfsup.evaluation.base import Split
from selfsup.registry import registry
from selfsup.training.progress import Reporter, Silent, show_findings, tell_remarks

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder
    from selfsup.specs import ModalitySpec

_SAME_DATA = 0.5
"""Share of the rows outside the held-out ones that were pretrained on, from which on a source counts as the same data."""
_MANY = 0.01
"""Share of test rows with a double among the training rows from which on it is said."""
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
    pretrained_share: float | None
    """Share of the test rows that the encoder has learned from, 0 to 1; None where that is not known."""
    repeated_share: float
    """Share of the test rows that are alike to a training row, 0 to 1."""
    chosen_on_test_rows: bool
    """Whether the encoder's checkpoint was chosen by a probe on the source of the test rows."""


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

    The test rows are those of ``test``. Without it they are the rows that the pretraining held out, where it had a ``holdout``
    and this is its data; else the source's own test split, else its validation split, else a fifth of each class, drawn with
    ``seed``. Rows that are alike are then on one side. Where test rows were pretrained on, a line says so; without anyone to
    show lines to, a :class:`~selfsup.errors.PretrainedRowsWarning`.

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
    elif (sides := _held_out_rows(encoder, train_rows)) is not None:
        train_rows, test_rows = sides
        share = f"{100 * _holdout(encoder):g} %"
        note = f"the {len(test_rows)} rows ({share}) of {train_rows.name} that pretraining held out"
        reporter.message(f"Numbers are of {note}.")
    elif (found := _own_test_rows(data, splits, modality, load)) is not None:
        test_rows = found
        note = f"{test_rows.name} ({test_rows.split})"
    else:
        train_rows, test_rows = train_rows.split_off(HELD_OUT, seed, kinds=row_hashes(train_rows))
        part = f"{len(test_rows)} rows ({100 * HELD_OUT:g} %)"
        note = f"{part} of {train_rows.name}, held out with seed {seed}: it has no test split"
        reporter.message(f"Numbers are of {note}.")
    show_findings(
        reporter,
        f"Training rows: {train_rows.name} ({train_rows.split}), {len(train_rows)} rows",
        train_rows.findings.joined(encoder.processor.findings()),
    )
    of_test_rows = Findings() if test_rows.findings == train_rows.findings else test_rows.findings
    show_findings(reporter, f"Test rows: {test_rows.name} ({test_rows.split}), {len(test_rows)} rows", of_test_rows)
    labelled = train_rows.label is not None and test_rows.label is not None
    names = train_rows.class_names if labelled else ()
    parts, bad = [], 0
    for what, rows in (("training", train_rows), ("test", test_rows)):
        # Labels first: a wrong label column is found before minutes of decoding.
        labels = rows.labels(names) if labelled else None
        reporter.start(f"reading {what} rows", len(rows), unit="rows")
        with caught_noise(reporter.message):
            store = prepare(rows, encoder.processor, max_bad_rows=max_bad_rows, progress=lambda done, _: reporter.advance(done))
        if store.bad_rows:
            bad += len(store.bad_rows)
            share = f"{len(store.bad_rows)} of {len(rows)} {what} rows"
            reporter.message(f"{share} cannot be read and are left out; {store.bad_rows[0][1]}")
        tell_remarks(reporter, store.remarks, f"{len(rows)} {what} rows")
        kept = None if labels is None else labels[store.kept]
        parts.append(Split(store, kept, names, rows.fingerprint, precision, rows))
    pretrained = _pretrained_share(encoder, test_rows, parts[1].store.kept)
    _tell(pretrained, encoder, reporter)
    repeated = _repeated_share(train_rows, test_rows, parts[0].store.kept, parts[1].store.kept)
    if repeated > _MANY:
        reporter.message(
            f"Warning: {100 * repeated:.1f} % of the test rows are alike to a training row, so a probe may know them by heart."
        )
    chosen = (encoder.metadata.get("chosen_on") or {}).get("fingerprint") == test_rows.fingerprint
    if chosen:
        reporter.message("Warning: the best checkpoint was chosen on these test rows (--val), so the numbers are too good.")
    return Splits(parts[0], parts[1], train_rows.name, note, bad, pretrained, repeated, chosen)


def _holdout(encoder: Encoder) -> float:
    return encoder.pretraining_rows.holdout if encoder.pretraining_rows is not None else 0.0


def _held_out_rows(encoder: Encoder, rows: Rows) -> tuple[Rows, Rows] | None:
    """The rest and the rows that the pretraining held out; None where it held out none, or where these are other data."""
    learned = encoder.pretraining_rows
    if learned is None or not learned.holdout or not _comparable(encoder, rows):
        return None
    if rows.fingerprint != learned.source:
        # The same rows in another file, another order or with fewer of them are the same data.
        hashes = row_hashes(rows, learned.roles)
        share = learned.share(hashes[~held_out(hashes, learned.holdout)])
        if not share or share < _SAME_DATA:
            return None
    return hold_out(rows, learned.holdout, learned.roles)


def _comparable(encoder: Encoder, rows: Rows) -> bool:
    """Whether the rows have all that the pretraining rows were hashed by."""
    learned = encoder.pretraining_rows
    return learned is not None and set(learned.roles) <= {*rows.columns, *([rows.label] if rows.label else [])}


def _pretrained_share(encoder: Encoder, test: Rows, kept: IndexArray) -> float | None:
    learned = encoder.pretraining_rows
    if learned is None or not (learned.different == 0 or _comparable(encoder, test)):
        return None
    return 0.0 if learned.different == 0 else learned.share(row_hashes(test, learned.roles)[kept])


def _repeated_share(train: Rows, test: Rows, kept_train: IndexArray, kept_test: IndexArray) -> float:
    known = row_hashes(train)[kept_train]
    return float(np.isin(row_hashes(test)[kept_test], known).mean())


def _tell(share: float | None, encoder: Encoder, reporter: Reporter) -> None:
    """Say which part of the test rows was pretrained on."""
    if share is None:
        reporter.message("It is not known whether the test rows were pretrained on: the encoder has no list of its rows.")
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
