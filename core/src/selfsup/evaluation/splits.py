"""Load the training and test rows of an evaluation."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selfsup.data import Findings, Rows, TableFormat, hold_out, prepare, row_hashes
from selfsup.data.batches.sampler import IndexArray
from selfsup.data.sources.columns.labels import LabelKind, LabelReader
from selfsup.data.store.content_hash import held_out
from selfsup.errors import DataError, PretrainedRowsWarning, SourceError
from selfsup.evaluation.base import Split
from selfsup.evaluation.checks import check_kind
from selfsup.evaluation.source_rows import load_rows, rows_of_part, splits_of
from selfsup.registry import registry
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.progress import Reporter, Silent, show_findings, tell_bad_rows, tell_remarks

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_SAME_DATA = 0.5
"""Share of the rows outside the held-out ones that were pretrained on, from which on a source counts as the same data."""
_MANY = 0.01
"""Share of test rows with a double among the training rows from which on it is said."""
_MANY_PARTS = 0.1
"""As :data:`_MANY`, of the share of test rows with a part that was pretrained on: captions repeat without harm now and then."""
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
    unlabelled_rows: int
    """Rows that have no label and were left out, in both."""
    pretrained_share: float | None
    """Share of the test rows that the encoder has learned from, 0 to 1; None where that is not known."""
    repeated_share: float
    """Share of the test rows that are alike to a training row, 0 to 1."""
    chosen_on_test_rows: bool
    """Whether the encoder's checkpoint was chosen by a probe on the source of the test rows."""
    part: str | None = None
    """The part of the rows that is measured, where they join several and one was asked for."""
    rows_without_part: int = 0
    """Rows that lack it and were left out, in both."""


def load_splits(
    encoder: Encoder,
    data: Any,
    test: Any = None,
    *,
    part: str | None = None,
    label: str | None,
    needs_label: bool,
    label_kind: LabelKind | None = None,
    unlabelled: Collection[str] = (),
    kinds: Mapping[str, Sequence[str]] | None = None,
    columns: Mapping[str, str] | None = None,
    table: TableFormat | Mapping[str, Any] | None = None,
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

    Rows without a label are left out, and a line says how many. Classes that only test rows have get ids behind all others;
    nothing can be right about them, and a line says so.

    Args:
        part: take this part of the rows of ``encoder``, which joins several: the splits are for ``encoder.part(part)``. Rows
            that lack it are left out, and a line says how many. A source of that part alone will do.
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
        # A column that only looks like labels (dates, images) does not end what needs none.
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
                f"The test rows ({test_rows.name}) are the training rows, so the numbers would be of rows that were learned by "
                "heart. Give other rows with --test, or leave it out: then a part is held out."
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
        # One part before the split: two rows may differ in another part alone, and must not lie on both sides.
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
        _tell_new_classes(train_rows, test_rows, reporter)
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
    pretrained = _pretrained_share(own, test_rows, parts[1].store.kept)
    _tell(pretrained, own, test_rows, reporter)
    _tell_parts(own, test_rows.select(parts[1].store.kept), pretrained or 0.0, reporter)
    repeated = _repeated_share(train_rows, test_rows, parts[0].store.kept, parts[1].store.kept)
    if repeated > _MANY:
        reporter.message(
            f"Warning: {100 * repeated:.1f} % of the test rows are alike to a training row, so a probe may know them by heart."
        )
    if chosen:
        reporter.message("Warning: the best checkpoint was chosen on these test rows (--val), so the numbers are too good.")
    return Splits(parts[0], parts[1], train_rows.name, note, bad, without, pretrained, repeated, chosen, part, lacking)


def _one_reader(train: Rows, test: Rows) -> tuple[Rows, Rows]:
    """Both sides with one numbering of the classes: those of the training rows, and behind them what only test rows have."""
    reader = train.label_reader
    other = LabelReader.find(test.dataset, str(test.label), reader.kind, reader.unlabelled) if test.reader is None else reader
    both = reader.together(other)
    return train.read_by(both), test.read_by(both)


def _tell_new_classes(train: Rows, test: Rows, reporter: Reporter) -> None:
    """Say which classes test rows have and training rows lack."""
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
            f"{'is' if len(new) == 1 else 'are'} not among the training rows, so no model can name them: they count as wrong."
        )


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


def _tell_parts(encoder: Encoder, test: Rows, share: float, reporter: Reporter) -> None:
    """Say which parts of test rows were pretrained on in other rows: a picture with another of its captions."""
    known = encoder.pretraining_rows.parts if encoder.pretraining_rows is not None else {}
    for part, learned in known.items():
        if share > 1 - _MANY_PARTS or part not in test.parts or not test.has_part(part).any():
            continue
        own = test.of_part(part)
        seen = learned.share(row_hashes(own, learned.roles)) if set(learned.roles) <= set(own.columns) else None
        if seen is not None and seen - share > _MANY_PARTS:
            reporter.message(
                f"Warning: the part {part!r} of {100 * seen:.3g} % of the test rows was pretrained on, beside other parts, so "
                "the numbers may be better than for a new one. Give rows without those with --test."
            )


def _repeated_share(train: Rows, test: Rows, kept_train: IndexArray, kept_test: IndexArray) -> float:
    known = row_hashes(train)[kept_train]
    return float(np.isin(row_hashes(test)[kept_test], known).mean())


def _tell(share: float | None, encoder: Encoder, test: Rows, reporter: Reporter) -> None:
    """Say which share of the test rows was pretrained on."""
    if share is None:
        learned = encoder.pretraining_rows
        reason = "the encoder has no list of its rows"
        if learned is not None:
            lacking = ", ".join(role for role in learned.roles if role not in {*test.columns, test.label})
            reason = f"these rows lack {lacking}, by which it knows its own" if lacking else "its list of them is a sample"
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


def _own_test_rows(data: Any, splits: tuple[str, ...], load: Any) -> Rows | None:
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
