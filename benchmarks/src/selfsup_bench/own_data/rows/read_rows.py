"""How own data is read, and which of its rows are pretrained on, which give labels, and which are tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from selfsup.data import IndexArray, LabelKind, Rows, TableFormat, available_splits, load_source
from selfsup.errors import BenchmarkError, ColumnError
from selfsup.registry import registry
from selfsup.runtime import atomic_write


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The sources and the options they are read with, as the commands of selfsup take them."""

    data: str
    """Rows to pretrain on; some of them may have labels."""
    modality: str
    labelled: str = ""
    """Labelled rows apart from the others; empty: those of ``data``."""
    test: str = ""
    """Labelled rows to test on; empty: the test split of the labelled rows, or a part of them."""
    label: str | None = None
    label_kind: LabelKind | None = None
    unlabelled: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "unlabelled": list(self.unlabelled)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**values, "unlabelled": tuple(values["unlabelled"])})

    @property
    def name(self) -> str:
        """What the data is called in tables and folders."""
        return Path(self.data).stem if Path(self.data).exists() else self.data.rpartition("//")[2]

    def absolute(self) -> Reading:
        """The same with paths that hold wherever a process runs."""

        def path(source: str) -> str:
            return str(Path(source).expanduser().resolve()) if source and Path(source).expanduser().exists() else source

        return replace(self, data=path(self.data), labelled=path(self.labelled), test=path(self.test))

    def pretraining_rows(self, options: Mapping[str, Any] | None = None) -> Rows:
        """All rows of ``data``; their labels are known where it has some.

        Args:
            options: of the processor, for rows that join parts.
        """
        split = self._split(self.data, "train")
        if not self.labelled:
            return self._load(self.data, split, options, label=self.label)
        try:
            return self._load(self.data, split, options, label=self.label, labelled=False)
        except ColumnError:
            return self._load(self.data, split, options, label=None, labelled=False)

    def labelled_rows(self, options: Mapping[str, Any] | None = None) -> Rows:
        """The rows that labels are drawn from."""
        source = self.labelled or self.data
        return self._load(source, self._split(source, "train"), options, label=self.label)

    def test_rows(self, options: Mapping[str, Any] | None = None) -> Rows | None:
        """Rows of a source or of a split that is for testing; None if there is no such source or split."""
        source = self.test or self.labelled or self.data
        spec = registry().get("modality", self.modality)
        splits = available_splits(source, modality=spec)
        held = next((split for split in ("test", "validation") if split in splits), None)
        if self.test:
            return self._load(source, held or splits[0], options, label=self.label)
        return self._load(source, held, options, label=self.label) if held is not None and "train" in splits else None

    def _split(self, source: str, wanted: str) -> str:
        splits = available_splits(source, modality=registry().get("modality", self.modality))
        return wanted if wanted in splits else splits[0]

    def _load(
        self, source: str, split: str, options: Mapping[str, Any] | None, *, label: str | None, labelled: bool = True
    ) -> Rows:
        form = TableFormat.of(self.table)
        return load_source(
            source,
            modality=registry().get("modality", self.modality),
            split=split,
            columns=self.columns,
            label=label,
            needs_label=labelled,
            label_kind=self.label_kind if labelled else None,
            unlabelled=self.unlabelled if labelled else (),
            table=form if source == self.data else form.where_of_use(),
            options=options,
        )


@dataclass(frozen=True)
class Parts:
    """The rows of a benchmark of own data."""

    train: Rows
    """To pretrain on, without the test rows."""
    labelled: Rows
    """To draw labels from."""
    test: Rows
    """That the numbers are of."""


@dataclass(frozen=True)
class Division:
    """Which rows of the sources are the parts: places in them, and the fingerprints of the sources."""

    train: IndexArray
    labelled: IndexArray
    test: IndexArray
    fingerprints: tuple[str, str, str]
    """Of the rows to pretrain on, of the labelled ones, and of those that the test rows are from."""

    @property
    def digest(self) -> str:
        """32 hexadecimal digits: the same for the same parts of the same rows."""
        digest = hashlib.sha256(json.dumps(self.fingerprints).encode())
        for places in (self.train, self.labelled, self.test):
            digest.update(np.ascontiguousarray(places, dtype=np.int64).tobytes() + b"|")
        return digest.hexdigest()[:32]

    def save(self, folder: Path) -> None:
        """Write it into the folder of a benchmark."""
        names = np.asarray(self.fingerprints)

        def write(file: BinaryIO) -> None:
            np.savez(file, train=self.train, labelled=self.labelled, test=self.test, fingerprints=names)

        atomic_write(_path(folder, self.digest), write)

    @classmethod
    def load(cls, folder: Path, digest: str) -> Division:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: it is not there, or damaged.
        """
        path = _path(folder, digest)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                first, second, third = (str(text) for text in arrays["fingerprints"])
                found = cls(arrays["train"], arrays["labelled"], arrays["test"], (first, second, third))
        except Exception as error:  # zip, zlib and NumPy raise many kinds of errors
            raise BenchmarkError(f"{path} cannot be read: {error}. Run the benchmark again into another folder.") from error
        if found.digest != digest:
            raise BenchmarkError(f"{path} is damaged. Run the benchmark again into another folder.")
        return found

    def parts(self, reading: Reading, options: Mapping[str, Any] | None = None) -> Parts:
        """The rows themselves, read again.

        Raises:
            BenchmarkError: the sources do not hold the same rows any more.
        """
        whole, known = reading.pretraining_rows(options), reading.labelled_rows(options)
        apart = reading.test_rows(options)
        tested = known if apart is None else apart
        for rows, fingerprint in zip((whole, known, tested), self.fingerprints, strict=True):
            if rows.fingerprint != fingerprint:
                raise BenchmarkError(
                    f"{rows.name} has changed since the benchmark began, so its cells would not be of the same rows. Run the "
                    "benchmark again into another folder."
                )
        return Parts(whole.select(self.train), known.select(self.labelled), tested.select(self.test))


def parts_of_cell(reading: Mapping[str, Any], folder: Path, options: Mapping[str, Any] | None = None) -> Parts:
    """The rows of a cell of own data.

    Args:
        reading: of the cell: what :meth:`Reading.as_dict` gave, and the ``rows`` that :attr:`Division.digest` names.
        folder: of the benchmark.
        options: of the processor, for rows that join parts.
    """
    values = dict(reading)
    digest = values.pop("rows")
    return Division.load(folder, digest).parts(Reading.from_dict(values), options)


def _path(folder: Path, digest: str) -> Path:
    return folder / f"rows-{digest[:12]}.npz"
