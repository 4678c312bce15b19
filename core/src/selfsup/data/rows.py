"""Rows of a data source by role, with the labels separate."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.sources.columns.joined import MARK, BoolArray, decisive_roles, filled, is_blank, roles_of
from selfsup.data.sources.columns.labels import LabelArray, LabelKind, LabelReader, has_label, strata
from selfsup.data.sources.columns.roles import feature_fits
from selfsup.data.sources.columns.segments import SEGMENT_ROLES
from selfsup.data.sources.media.files import real_path
from selfsup.errors import ColumnError, DataError, one_line
from selfsup.runtime.findings import Findings
from selfsup.types import Row

_CHUNK_BYTES = 8 << 20
_CHUNK_ROWS = 1024
_TABLE_ROWS = 65_536

IndexArray = np.ndarray[Any, np.dtype[np.int64]]
"""[n] int64, places of rows."""


@dataclass(frozen=True)
class Rows:
    """Rows of one split of a source. Iterating gives :data:`~selfsup.types.Row` dicts by role, which never hold the label.

    A media value is a dict of ``bytes`` and ``path``, either may be None; the processor decodes it. Iterating keeps at
    most a few megabytes in memory.
    """

    dataset: Any
    """The ``datasets.Dataset`` with all its columns."""
    columns: Mapping[str, str]
    """Role to column."""
    label: str | None = None
    """The label column, or None."""
    label_kind: LabelKind | None = None
    """What the label column holds; None: it is detected."""
    unlabelled: tuple[str, ...] = ()
    """Labels that mark a row without a label, in addition to null, NaN and empty texts."""
    reader: LabelReader | None = field(default=None, repr=False, compare=False)
    """How to read labels, if that does not follow from these rows alone; see :attr:`label_reader`."""
    whole: Rows | None = field(default=None, repr=False, compare=False)
    """The rows that these were selected from; their labels decide the classes."""
    name: str = "rows"
    """The source as the user named it."""
    split: str = "train"
    fingerprint: str = ""
    """Hash of the content, the roles of the columns and the selection, without labels."""
    root: Path | None = None
    """The folder of relative paths in the rows."""
    media: frozenset[str] = field(default=frozenset())
    """Roles whose values are files."""
    categories: frozenset[str] = field(default=frozenset())
    """Columns that the source marks as categories, even if they hold numbers (pandas' ``category``)."""
    findings: Findings = field(default_factory=Findings, repr=False, compare=False)
    """How the source was read: files used and skipped, format of a table, the column of each role."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """For rows that join several parts: name of each part to the id of its modality; roles are ``<part>/<role>``."""
    firsts: frozenset[str] = field(default=frozenset())
    """Roles that use the first of several values that their column lists for a row."""
    places: IndexArray | None = field(default=None, repr=False, compare=False)
    """[N], index of each row in the source, if these are a selection of its rows."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Row]:
        for _, chunk in self.chunks():
            yield from chunk

    def chunks(self) -> Iterator[tuple[int, list[Row]]]:
        """Consecutive rows as (index of the first, rows), in pieces of about 8 MB at most."""
        step = self._chunk_rows()
        for start in range(0, len(self), step):
            yield start, self.read(range(start, min(start + step, len(self))))

    def tables(self) -> Iterator[tuple[int, Any]]:
        """Consecutive rows as (index of the first, ``pyarrow.Table`` with a column per role), in pieces of about 8 MB at most.

        Media values are as in the source.
        """
        step = self._chunk_rows(_TABLE_ROWS)
        for start in range(0, len(self), step):
            table = self.view[start : min(start + step, len(self))]
            yield start, table.select(list(self.columns.values())).rename_columns(list(self.columns))

    def read(self, indices: Sequence[int] | IndexArray | range) -> list[Row]:
        """The rows at these indices, in this order."""
        view = self.view
        if isinstance(indices, range) and indices.step == 1:
            table = view[indices.start : indices.stop]
        else:
            table = view[[int(index) for index in indices]]
        return [self.as_row(record) for record in table.to_pylist()]

    def as_row(self, record: Mapping[str, Any]) -> Row:
        """A record (column to value) as a row; a missing column gives None."""
        row = {role: record.get(column) for role, column in self.columns.items()}
        for role in self.media:
            row[role] = self._file(row[role])
        for role in self.firsts:
            if isinstance(listed := row[role], list):
                row[role] = next((value for value in listed if not is_blank(value)), None)
        return row

    def describe(self, index: int) -> str:
        """How messages name a row: its index in the source, and its file if it has one."""
        number = index if self.places is None else int(self.places[index])
        for role in sorted(self.media):
            column = self._paths_only[index : index + 1].column(self.columns[role])
            value = column.combine_chunks().to_pylist()[0]
            path = value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None
            if path:
                return f"row {number} ({one_line(path)}{self._describe_segment(index)})"
        return f"row {number}"

    def _describe_segment(self, index: int) -> str:
        """The part of its file that a row is: ``, start 2, end 3.5``; empty for the whole file."""
        roles = [role for role in SEGMENT_ROLES if role in self.columns]
        if not roles:
            return ""
        record = self.view[index : index + 1].to_pylist()[0]
        return "".join(f", {role} {record[self.columns[role]]}" for role in roles)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids; empty without a label column, or if it holds numbers."""
        return () if self.label is None else self.label_reader.names

    @functools.cached_property
    def label_reader(self) -> LabelReader:
        """How to read the labels: their kind and their classes. A selection has the reader of all rows.

        Raises:
            ColumnError: there is no label column, or its values cannot be labels.
        """
        if self.label is None:
            columns = ", ".join(self.dataset.column_names)
            raise ColumnError(f"{self.name} has no label column. Its columns are {columns}. Name one with --label.")
        if self.reader is not None:
            return self.reader
        if self.whole is not None:
            return self.whole.label_reader
        return LabelReader.find(self.dataset, self.label, self.label_kind, self.unlabelled)

    def labels(self) -> LabelArray:
        """The label of each row: [N] int64 class ids, [N, K] int8 zeros and ones for several classes, [N] float64 numbers.

        Raises:
            ColumnError: there is no label column, or a row has no label (:meth:`labelled` drops such rows).
        """
        labels = self._labels()
        there = has_label(labels)
        if not there.all():
            row = int(np.argmin(there))
            raise ColumnError(
                f"Row {row} has no label in column {self.label!r}. Leave such rows out, or name another column with --label."
            )
        return labels

    def labelled(self, say: Callable[[str], None] | None = None, *, what: str = "") -> Rows:
        """The rows that have a label; the same object if all have one.

        Args:
            say: called with a line on how many rows have none.
            what: how that line names the rows (``training``, ``test``).

        Raises:
            ColumnError: there is no label column, or its values cannot be labels.
            DataError: no row has a label.
        """
        there = has_label(self._labels())
        if there.all():
            return self
        rows = f"{len(self)} {what}{' ' * bool(what)}rows of {self.name}"
        if not there.any():
            raise DataError(f"None of the {rows} has a label in column {self.label!r}.")
        if say is not None:
            say(f"{int((~there).sum())} of the {rows} have no label and are left out.")
        return self.select(np.flatnonzero(there))

    def read_by(self, reader: LabelReader) -> Rows:
        """The same rows with the labels read by ``reader``, so that ids have the same meaning as in other rows."""
        return replace(self, reader=reader if reader.column == self.label else replace(reader, column=str(self.label)))

    def _labels(self) -> LabelArray:
        return self.label_reader.read(self.dataset)

    def without_labels(self) -> Rows:
        """The same rows without the label column."""
        if self.label is None:
            return self
        return replace(self, dataset=self.dataset.remove_columns(self.label), label=None, reader=None, whole=None)

    def has_part(self, part: str) -> BoolArray:
        """[N] bool, which rows have a part: at least one of its columns has a value (``filled``)."""
        roles = roles_of(self.columns, part)
        if not roles:
            raise ColumnError(f"{self.name} has no part {part!r}; its parts are {', '.join(self.parts) or 'none'}.")
        there = np.zeros(len(self), dtype=bool)
        names = [roles[role] for role in decisive_roles(list(roles))]
        view = self.dataset.select_columns(list(dict.fromkeys(names))).with_format("arrow")
        step = self._chunk_rows(_TABLE_ROWS)
        for start in range(0, len(self), step):
            table = view[start : min(start + step, len(self))]
            for name in names:
                there[start : start + len(table)] |= filled(table.column(name))
        return there

    def of_part(self, part: str) -> Rows:
        """The rows that have a part, as rows of that part's own modality, with the first of several texts of a row.

        ``places`` holds their indices in the source.

        Raises:
            ColumnError: there is no such part.
            DataError: no row has it.
        """
        there = self.has_part(part)
        if not there.any():
            raise DataError(f"None of the {len(self)} rows of {self.name} has the part {part!r}.")
        rows = self if there.all() else self.select(np.flatnonzero(there))
        columns = roles_of(self.columns, part)
        several = (role for role, column in columns.items() if self.features_list_texts(column))
        key = hashlib.sha256(f"{rows.fingerprint}\0{part}".encode()).hexdigest()
        return replace(
            rows,
            columns=columns,
            media=frozenset(role for role in columns if f"{part}{MARK}{role}" in self.media),
            firsts=frozenset(several),
            parts={},
            fingerprint=key,
        )

    def features_list_texts(self, column: str) -> bool:
        """Whether a column holds a list of texts per row."""
        item = getattr(self.dataset.features[column], "feature", None)
        return item is not None and feature_fits(item, "string")

    def select(self, indices: Sequence[int] | IndexArray) -> Rows:
        """The rows at these indices, in this order. Classes keep their ids."""
        places = np.asarray(indices, dtype=np.int64)
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise DataError(f"There is no row {int(places.max())}: {self.name} has {len(self)} rows.")
        digest = hashlib.sha256(self.fingerprint.encode() + places.tobytes()).hexdigest()
        dataset = self.dataset.select(places, keep_in_memory=True)
        known = places if self.places is None else self.places[places]
        whole = None if self.label is None else self.whole or self
        return replace(self, dataset=dataset, whole=whole, fingerprint=digest, places=known)

    def split_off(
        self, fraction: float, seed: int, *, kinds: np.ndarray[Any, np.dtype[np.uint64]] | None = None
    ) -> tuple[Rows, Rows]:
        """Split the rows in two: the rest, and a random ``fraction`` of each class (of all rows if there are no labels).

        Each class with at least two rows has a row on both sides. Numbers are drawn evenly from each tenth of their values;
        rows with several classes are drawn like rows without labels.

        Args:
            fraction: between 0 and 1.
            seed: of the draw.
            kinds: [N], rows with the same number stay on one side, so that no row has a duplicate on the other side;
                ``fraction`` then refers to different rows. From :func:`~selfsup.data.row_hashes`.

        Raises:
            DataError: ``fraction`` is not between 0 and 1, or there are fewer than two (different) rows.
        """
        if not 0 < fraction < 1:
            raise DataError(f"Cannot split off a fraction of {fraction}: it must be between 0 and 1.")
        if len(self) < 2:
            raise DataError(f"Cannot split {self.name}: it has {len(self)} row{'s' * (len(self) != 1)}, and two are needed.")
        first, kind = np.arange(len(self)), np.arange(len(self))
        if kinds is not None:
            _, first, kind = np.unique(kinds, return_index=True, return_inverse=True)
            if len(first) < 2:
                raise DataError(f"Cannot split {self.name}: its {len(self)} rows are equal, and two different ones are needed.")
            first = np.sort(first)
        ids = strata(self.labels()) if self.label is not None else np.zeros(len(self), dtype=np.int64)
        held = np.zeros(len(self), dtype=bool)
        generator = np.random.default_rng(seed)
        for class_id in np.unique(ids[first]):
            members = first[ids[first] == class_id]
            if len(members) > 1:
                count = min(max(round(fraction * len(members)), 1), len(members) - 1)
                held[generator.permutation(members)[:count]] = True
        if not held.any():  # every class has a single row
            held[first[generator.integers(len(first))]] = True
        if kinds is not None:
            held = np.isin(kind, kind[held])
        return self.select(np.flatnonzero(~held)), self.select(np.flatnonzero(held))

    @functools.cached_property
    def view(self) -> Any:
        """The role columns as Arrow, without decoding."""
        return self.dataset.select_columns(list(dict.fromkeys(self.columns.values()))).with_format("arrow")

    @functools.cached_property
    def _paths_only(self) -> Any:
        return self.dataset.select_columns([self.columns[role] for role in sorted(self.media)]).with_format("arrow")

    def _chunk_rows(self, most: int = _CHUNK_ROWS) -> int:
        """The number of rows that take about 8 MB, at most ``most``."""
        # From a few stretches: the size of all rows would need a look at every page.
        data = self.dataset.data
        starts = np.unique(np.linspace(0, max(data.num_rows - 1, 0), 16).astype(int)).tolist()
        parts = [data.fast_slice(start, 64) for start in starts]
        mean = sum(part.nbytes for part in parts) / max(sum(part.num_rows for part in parts), 1)
        return int(min(max(_CHUNK_BYTES / max(mean, 1), 1), most))

    def _file(self, value: Any) -> Any:
        """A media value as a dict of ``bytes`` and ``path``; the path of a file to read is absolute."""
        if isinstance(value, str):
            value = {"bytes": None, "path": value}
        elif isinstance(value, bytes):
            value = {"bytes": value, "path": None}
        if isinstance(value, dict) and value.get("bytes") is None and value.get("path") and self.root is not None:
            value["path"] = os.fspath(real_path(self.root / value["path"]))
        return value


def spread_rows(rows: Iterable[Row], most: int) -> Iterator[Row]:
    """At most ``most`` rows, spread evenly over all, in their order: a sample for a processor to choose its settings from.

    One row is drawn from each of ``most`` equal parts, always the same one; of :class:`Rows` only these are read. Rows that can
    only be iterated (a generator, a stream) give the first ones.
    """
    if not isinstance(rows, Rows | Sequence):
        yield from itertools.islice(rows, most)
        return
    edges = np.linspace(0, len(rows), min(most, len(rows)) + 1).astype(np.int64)
    places = np.random.default_rng(0).integers(edges[:-1], edges[1:])
    if not isinstance(rows, Rows):
        yield from (rows[place] for place in places.tolist())
        return
    step = rows._chunk_rows()
    for start in range(0, len(places), step):
        yield from rows.read(places[start : start + step])
