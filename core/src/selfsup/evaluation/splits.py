"""Load the training and test rows of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from selfsup.data import Findings, Rows, TableFormat, hold_out, prepare, row_hashes
from selfsup.data.sources.columns.labels import LabelKind, LabelReader
from selfsup.data.store.content_hash import held_out
from selfsup.errors import DataError, SourceError
from selfsup.evaluation.base import Split
from selfsup.evaluation.checks import check_kind
from selfsup.evaluation.overlap import (
    MANY_REPEATED,
    comparable,
    pretrained_share,
    repeated_share,
    tell_new_classes,
    tell_pretrained,
    tell_pretrained_parts,
)
from selfsup.evaluation.source_rows import load_rows, rows_of_part, splits_of
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.progress import Reporter, show_findings, tell_bad_rows, tell_remarks

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_SAME_DATA = 0.5
"""A source is the pretraining's data if at least this share of its rows, except those held out, was pretrained on."""
HELD_OUT = 0.2
"""Share of the rows that is held out for testing if a source has no test split."""


@dataclass(frozen=True)
class Splits:
    """Training and test rows of an evaluation."""

    train: Split
    test: Split
    name: str
    """Name of the training rows' source."""
    test_rows: str
    """One line that says which rows are the test rows."""
    bad_rows: int
    """Unreadable rows, training and test together."""
    unlabelled_rows: int
    """Rows without a label that were left out, training and test together."""
    pretrained_share: float | None
    """Share of the test rows that the encoder has learned from, 0 to 1; None: unknown."""
    repeated_share: float
    """Share of the test rows that equal a training row, 0 to 1."""
    chosen_on_test_rows: bool
    """Whether the encoder's checkpoint was chosen by a probe on the source of the test rows."""
    part: str | None = None
    """The part that is measured, if rows have several parts and one was asked for."""
    rows_without_part: int = 0
    """Rows without the part that were left out, training and test together."""


def load_splits(
    encoder: Encoder,
    data: Any,
    test: Any = None,
    *,
    part: str | None = None,
    label: str | None = None,
    needs_label: bool,
    label_kind: LabelKind | None = None,
    unlabelled: Collection[str] = (),
    kinds: Mapping[str, Sequence[str]] | None = None,
    columns: Mapping[str, str] | None = None,
    table: TableFormat | Mapping[str, Any] | None = None,
    seed: int,
    max_bad_rows: float = 0.01,
    precision: Literal["32", "bf16", "16"],
    reporter: Reporter,
) -> Splits:
    """Find, read and process the rows of an evaluation.

    The test rows are those of ``test``. If it is None, they are the rows that pretraining held out (``holdout``) if this is its
    data; else the source's test split, else its validation split, else a fifth of each class, drawn with ``seed``, with equal
    rows on the same side. A message, or a :class:`~selfsup.errors.PretrainedRowsWarning` where nobody reads messages, says how
    many test rows were pretrained on.

    Rows without a label are left out and counted in a message. Classes that only test rows have get the last ids; a message
    names them, since no model can predict them.

    Args:
        part: name of one part of the encoder's rows: the splits are for ``encoder.part(part)``. Rows without it are left out
            and counted in a message. The source may have rows of that part alone.
        kinds: evaluator to the kinds of labels that it can measure with.

    Raises:
        SourceError: there is nothing usable at a source.
        ColumnError: a column is missing, or holds no labels.
        ConfigError: an evaluator cannot measure with labels of this kind.
        DataError: training and test rows are the same, or no row of one side has a label.
    """
    whole, own = encoder, encoder if part is None else encoder.part(part)
    form = TableFormat.of(table)

    def load(source: Any, split: str) -> Rows:
        rows = load_rows(
            whole,
            source,
            part=part,
            split=split,
            columns=columns,
            label=label,
            needs_label=needs_label,
            label_kind=label_kind,
            unlabelled=unlabelled,
            table=form if source is data else form.where_of_use(),
        )
        # Without need for labels, a column that only looks like labels (dates, images) is no error.
        return rows if needs_label or label is not None else rows.without_labels()

    splits = splits_of(whole, data, part)
    train_rows = load(data, "train" if "train" in splits else splits[0])
    labelled, without, lacking = train_rows.label is not None, 0, 0
    if labelled:
        for evaluator, able in (kinds or {}).items():
            check_kind(evaluator, train_rows.label_reader.kind, able)
    if test is not None:
        of_test = splits_of(whole, test, part)
        test_rows = load(test, "test" if "test" in of_test else of_test[0])
        note = f"{test_rows.name} ({test_rows.split})"
        if test_rows.fingerprint == train_rows.fingerprint:
            raise DataError(
                f"The test rows ({test_rows.name}) are the training rows, so the numbers would measure memorised "
                "rows. Give other rows with --test, or leave it out to hold out a part of the rows."
            )
    elif (sides := _held_out_rows(whole, train_rows)) is not None:
        train_rows, test_rows = sides
        share = f"{100 * _holdout(whole):g} %"
        note = f"the {len(test_rows)} rows ({share}) of {train_rows.name} that pretraining held out"
        reporter.message(f"Numbers are of {note}.")
    elif (found := _own_test_rows(data, splits, load)) is not None:
        test_rows = found
        note = f"{test_rows.name} ({test_rows.split})"
    else:
        # Take the part before the split: rows that differ only in another part must be on the same side.
        complete, train_rows = len(train_rows), rows_of_part(train_rows, part, reporter.message)
        lacking = complete - len(train_rows)
        if labelled:
            known = train_rows.labelled(reporter.message)
            train_rows, without = known, len(train_rows) - len(known)
        train_rows, test_rows = train_rows.split_off(HELD_OUT, seed, kinds=row_hashes(train_rows))
        share = f"{len(test_rows)} rows ({100 * HELD_OUT:g} %)"
        note = f"{share} of {train_rows.name}, held out with seed {seed}: it has no test split"
        reporter.message(f"Numbers are of {note}.")
    labelled = labelled and test_rows.label is not None
    chosen = (encoder.metadata.get("chosen_on") or {}).get("fingerprint") == test_rows.fingerprint
    complete = len(train_rows) + len(test_rows)
    train_rows = rows_of_part(train_rows, part, reporter.message, what="training")
    test_rows = rows_of_part(test_rows, part, reporter.message, what="test")
    lacking += complete - len(train_rows) - len(test_rows)
    if labelled:
        train_rows, test_rows = _one_reader(train_rows, test_rows)
        without += len(train_rows) + len(test_rows)
        train_rows = train_rows.labelled(reporter.message, what="training")
        test_rows = test_rows.labelled(reporter.message, what="test")
        without -= len(train_rows) + len(test_rows)
        tell_new_classes(train_rows, test_rows, reporter)
    findings = train_rows.findings.joined(own.processor.findings())
    if labelled:
        findings.add("label", train_rows.label_reader.describe())
    show_findings(reporter, f"Training rows: {train_rows.name} ({train_rows.split}), {len(train_rows)} rows", findings)
    of_test_rows = Findings() if test_rows.findings == train_rows.findings else test_rows.findings
    show_findings(reporter, f"Test rows: {test_rows.name} ({test_rows.split}), {len(test_rows)} rows", of_test_rows)
    names = train_rows.class_names if labelled else ()
    kind: LabelKind = train_rows.label_reader.kind if labelled else "class"
    parts, bad = [], 0
    for what, rows in (("training", train_rows), ("test", test_rows)):
        labels = rows.labels() if labelled else None
        reporter.start(f"reading {what} rows", len(rows), unit="rows")
        with caught_noise(reporter.message):
            store = prepare(rows, own.processor, max_bad_rows=max_bad_rows, progress=lambda done, _: reporter.advance(done))
        bad += len(store.bad_rows)
        tell_bad_rows(reporter, store.bad_rows, f"{len(rows)} {what} rows")
        tell_remarks(reporter, store.remarks, f"{len(rows)} {what} rows")
        kept = None if labels is None else labels[store.kept]
        parts.append(Split(store, kept, names, rows.fingerprint, precision, rows, kind))
    pretrained = pretrained_share(own, test_rows, parts[1].store.kept)
    tell_pretrained(pretrained, own, test_rows, reporter)
    tell_pretrained_parts(own, test_rows.select(parts[1].store.kept), pretrained or 0.0, reporter)
    repeated = repeated_share(train_rows, test_rows, parts[0].store.kept, parts[1].store.kept)
    if repeated > MANY_REPEATED:
        reporter.message(
            f"Warning: {100 * repeated:.1f} % of the test rows equal a training row, so a probe may have memorised them."
        )
    if chosen:
        reporter.message("Warning: the best checkpoint was chosen on these test rows (--val), so the numbers are too good.")
    return Splits(parts[0], parts[1], train_rows.name, note, bad, without, pretrained, repeated, chosen, part, lacking)


def _one_reader(train: Rows, test: Rows) -> tuple[Rows, Rows]:
    """Give both sides the same class ids: classes of the training rows first, then those that only test rows have."""
    reader = train.label_reader
    other = LabelReader.find(test.dataset, str(test.label), reader.kind, reader.unlabelled) if test.reader is None else reader
    both = reader.together(other)
    return train.read_by(both), test.read_by(both)


def _holdout(encoder: Encoder) -> float:
    return encoder.pretraining_rows.holdout if encoder.pretraining_rows is not None else 0.0


def _held_out_rows(encoder: Encoder, rows: Rows) -> tuple[Rows, Rows] | None:
    """The other rows and the rows that pretraining held out; None if it held out none, or if these are other data."""
    learned = encoder.pretraining_rows
    if learned is None or not learned.holdout or not comparable(encoder, rows):
        return None
    if rows.fingerprint != learned.source:
        # The same rows in another file, another order or with fewer of them are the same data.
        hashes = row_hashes(rows, learned.roles)
        share = learned.share(hashes[~held_out(hashes, learned.holdout)])
        if not share or share < _SAME_DATA:
            return None
    return hold_out(rows, learned.holdout, learned.roles)


def _own_test_rows(data: Any, splits: tuple[str, ...], load: Any) -> Rows | None:
    """The source's test (or validation) rows; None: it has none."""
    if isinstance(data, str | os.PathLike) and os.fspath(data).startswith("hf://"):
        # The hub's splits are unknown until one is loaded.
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
