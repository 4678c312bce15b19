"""Divides own data: rows to pretrain on, rows whose labels may be used, rows that are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from selfsup.data import IndexArray, LabelKind, Rows, row_hashes, strata
from selfsup.errors import DataError
from selfsup_bench.own_data.rows.read_rows import Division, Reading

SHARE, MOST_SHARE, ENOUGH = 0.2, 0.5, 400
"""Share of the labelled rows that is tested on: a fifth; more where that is below 400 rows, but no more than half."""
NEEDED = 4
"""Labels that a class needs to count: two to test on, two to learn from."""
NEEDED_ROWS = 20
"""Labelled rows that are needed where labels are numbers, or several classes a row."""
UNEQUAL = 3.0
"""If the largest class has this many times the rows of the smallest, the metric is balanced accuracy."""
FEWER = 2 / 3
"""Share of a class that is drawn at most, so that draws of the labels differ."""


@dataclass(frozen=True)
class Limits:
    """The most rows of each part: what is more is left out, by a draw that is always the same."""

    train: int = 50_000
    labelled: int = 4_000
    test: int = 2_000


@dataclass(frozen=True)
class Divided:
    """The division of own data, and what there is to say of it."""

    division: Division
    rows: int
    """Rows of the data to pretrain on, before any are left out."""
    n_train: int
    labels: int
    """Rows with a label; not those of a test split or source."""
    n_labelled: int
    """Labelled rows that are not tested on: all labels that there are."""
    n_test: int
    label: str
    """The label column."""
    kind: LabelKind
    classes: tuple[str, ...]
    """Names of the classes; of numbers none."""
    per_class: int
    """N: labels a class that the headline is of."""
    metric: str
    """``accuracy``, ``balanced_accuracy``, ``map`` or ``r2``."""
    tested_on: str
    """Where the test rows are from."""
    notes: tuple[str, ...]
    """What was left out, or chosen otherwise than asked."""
    drawn: int = 0
    """Labels of one draw: ``per_class`` of each class or tenth of the numbers, fewer if there are not enough; 0: unknown."""


def divide(reading: Reading, *, wanted: int, limits: Limits, options: dict[str, Any] | None = None) -> Divided:
    """Read the data once, and choose the parts.

    The test rows are those of ``reading.test``, or the test split of the labelled rows; else they are chosen by what they hold
    (rows in another order, or in another file, are divided alike), evenly from each class. Rows that are alike are on one side,
    and what is tested on is not pretrained on.

    Args:
        reading: the sources.
        wanted: labels a class.
        limits: the most rows of each part.
        options: of the processor, for rows that join parts.

    Raises:
        DataError: a source cannot be used, or has too few labels.
        ColumnError: there is no label column, or it holds no labels.
    """
    whole, known, apart = reading.pretraining_rows(options), reading.labelled_rows(options), reading.test_rows(options)
    kind = known.label_reader.kind
    labelled = _with_places(known.labelled())
    labels, notes = len(labelled), list[str]()
    _check_enough(labelled, kind)
    roles = sorted(set(whole.columns) & set(known.columns))
    if apart is None:
        labelled = _sample(labelled, limits.labelled + limits.test)
        labelled, test = _split(labelled, roles, limits.test)
        labelled = _sample(labelled, limits.labelled)
        tested_on = f"{len(test)} of the labelled rows"
    else:
        # Of classes of its own, too: about them nothing can be right, whatever is compared.
        test = _sample(_with_places(replace(apart, label_kind=kind).labelled()), limits.test)
        tested_on = f"the {len(test)} rows of {apart.name} ({apart.split})"
        hashes, held = row_hashes(labelled, roles), row_hashes(test, roles)
        labelled = _sample(labelled.select(np.flatnonzero(~np.isin(hashes, held))), limits.labelled)
    if len(labelled) + (len(test) if apart is None else 0) < labels:
        tested = f" and {len(test):,} for testing" if apart is None else ""
        notes.append(f"Of the {labels:,} labelled rows {len(labelled):,} are used for probes{tested}.")
    train = _train(whole, test, roles, limits.train, notes)
    values = labelled.labels()
    per_class = _per_class(values, kind, wanted, notes)
    fingerprints = (whole.fingerprint, known.fingerprint, known.fingerprint if apart is None else apart.fingerprint)
    return Divided(
        division=Division(train, _places(labelled), _places(test), fingerprints),
        rows=len(whole),
        n_train=len(train),
        labels=labels,
        n_labelled=len(labelled),
        n_test=len(test),
        label=str(known.label),
        kind=kind,
        classes=known.class_names,
        per_class=per_class,
        metric=_metric(kind, test.labels()),
        tested_on=tested_on,
        drawn=_drawn(values, kind, per_class),
        notes=(*notes, *_small_classes(values, known.class_names, kind, per_class)),
    )


def _with_places(rows: Rows) -> Rows:
    """The rows with their places in the source."""
    return rows if rows.places is not None else rows.select(np.arange(len(rows)))


def _places(rows: Rows) -> IndexArray:
    assert rows.places is not None
    return rows.places


def _sample(rows: Rows, most: int) -> Rows:
    """A sample of at most that many rows, always the same one, in their order."""
    if len(rows) <= most:
        return rows
    return rows.select(np.sort(np.random.default_rng(0).permutation(len(rows))[:most]))


def _check_enough(labelled: Rows, kind: LabelKind) -> None:
    if kind != "class":
        if len(labelled) < NEEDED_ROWS:
            raise DataError(
                f"{labelled.name} has {len(labelled)} labelled rows, which is too few to compare tasks: a part of them is "
                f"tested on. Label at least {NEEDED_ROWS}, better 100."
            )
        return
    names = labelled.class_names
    sizes = np.bincount(labelled.labels(), minlength=len(names))
    able = [name for name, size in zip(names, sizes, strict=True) if size >= NEEDED]
    if len(able) < 2:
        found = ", ".join(f"{name}: {size}" for name, size in list(zip(names, sizes, strict=True))[:10])
        raise DataError(
            f"{labelled.name} has too few labels: at least two classes need {NEEDED} labelled rows each (two to learn from and "
            f"two to test on), better 20. Found in column {labelled.label!r}: {found}{', ...' if len(names) > 10 else ''}."
        )


def _split(labelled: Rows, roles: Sequence[str], most: int) -> tuple[Rows, Rows]:
    """Labelled rows to learn from, and those to test on."""
    hashes = row_hashes(labelled, roles) if roles else row_hashes(labelled)
    order = np.argsort(hashes, kind="stable")  # so that it does not matter in which order the source has them
    share = min(max(SHARE, ENOUGH / len(labelled)), MOST_SHARE, most / len(labelled))
    left, test = labelled.select(order).split_off(share, 0, kinds=hashes[order])
    return left, test


def _train(whole: Rows, test: Rows, roles: Sequence[str], most: int, notes: list[str]) -> IndexArray:
    """Places of the rows to pretrain on: all but duplicates of test rows, or a sample of them."""
    rows = _with_places(_sample(whole, most + len(test)))
    if roles:
        rows = rows.select(np.flatnonzero(~np.isin(row_hashes(rows, roles), row_hashes(test, roles))))
    if len(rows) < NEEDED:
        raise DataError(
            f"{whole.name} leaves {len(rows)} rows to pretrain on when the test rows are left out. Give more rows with --data; "
            "those without a label count."
        )
    if len(rows) > most:
        rows = _sample(rows, most)
    if len(whole) > most + len(test):
        notes.append(
            f"Pretraining takes {len(rows):,} of the {len(whole):,} rows, drawn at random: more would not fit the time."
        )
    return _places(rows)


def _per_class(values: Any, kind: LabelKind, wanted: int, notes: list[str]) -> int:
    """N, at most two thirds of a usual class, so that the draws of the labels differ."""
    if kind == "classes":
        return max(1, min(wanted, int(FEWER * len(values) / max(values.shape[1], 1))))
    sizes = np.bincount(strata(values))
    usual = float(np.median(sizes[sizes > 0]))
    found = max(1, min(wanted, int(FEWER * usual)))
    if found < wanted:
        what = "tenth of the numbers" if kind == "number" else "class"
        notes.append(f"Few labels are {found} a {what} here, and not {wanted}: a usual one has {usual:.0f} to draw from.")
    return found


def _drawn(values: Any, kind: LabelKind, per_class: int) -> int:
    """Labels of one draw; where a row may have several classes, rows."""
    if kind == "classes":
        return min(len(values), per_class * int(values.shape[1]))
    return int(np.minimum(np.bincount(strata(values)), per_class).sum())


def _metric(kind: LabelKind, tested: Any) -> str:
    if kind != "class":
        return {"classes": "map", "number": "r2"}[kind]
    sizes = np.bincount(tested)
    sizes = sizes[sizes > 0]
    return "balanced_accuracy" if sizes.max() >= UNEQUAL * sizes.min() else "accuracy"


def _small_classes(values: Any, names: Sequence[str], kind: LabelKind, per_class: int) -> list[str]:
    if kind != "class":
        return []
    sizes = np.bincount(values, minlength=len(names))
    small = [f"{name} ({size})" for name, size in zip(names, sizes, strict=True) if size < per_class]
    if not small:
        return []
    shown = ", ".join(small[:5]) + (", ..." if len(small) > 5 else "")
    if len(small) == 1:
        return [f"One class has fewer than {per_class} labels to draw from, and gives all of them: {shown}."]
    return [f"{len(small)} classes have fewer than {per_class} labels to draw from, and give all of theirs: {shown}."]
