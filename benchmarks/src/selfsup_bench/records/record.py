"""The record of a cell: what was measured, under which circumstances. One JSON file a cell, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from selfsup.errors import BenchmarkError
from selfsup.runtime import atomic_write, remove_remains
from selfsup_bench.cells.cell import Cell
from selfsup_bench.records.migrations import SCHEMA
from selfsup_bench.records.schema import checked

__all__ = ["SCHEMA", "Labels", "Projection", "Record", "RecordStore", "read_json", "write_json"]


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Test embeddings drawn in two dimensions."""

    method: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    labels: tuple[int, ...]
    """Class ids, one a point."""
    class_names: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    """Where each point's row lies among the labelled test rows; empty in records of earlier versions."""
    previews: str = ""
    """Names the file of what these rows look like (:mod:`selfsup_bench.cells.previews`); empty: without previews."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From plain JSON values."""
        taken: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**taken)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How many labelled rows the draws of one amount of labels have."""

    drawn: int
    """Rows of a draw."""
    pool: int
    """Rows that they are drawn from."""
    overlap: float
    """Share of a draw's rows that another draw is expected to have, too."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one cell gave."""

    key: str
    cell: Cell
    status: Literal["done", "failed"]
    error: str = ""
    """Why it failed, for people."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """``evaluator.metric`` to value."""
    draws: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """``few-labels.METRIC@N`` to its value in each draw of the labels."""
    rows: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """``few-labels.METRIC@N`` to what each test row, or group of them, adds to it, averaged over the draws."""
    labels: Mapping[str, Labels] = field(default_factory=dict)
    """``10`` (labels a class) or ``5%`` (of all labels) to what was drawn; empty in records of before it was kept."""
    curve: tuple[tuple[int, float], ...] = ()
    """(step, pretraining loss)."""
    samples_per_second: float | None = None
    """Of pretraining, without what comes before and after it; None where nothing was trained."""
    peak_memory: int | None = None
    """Bytes: of the device where it is an accelerator, else resident memory of the process."""
    device: str = ""
    measured: str = ""
    """When the cell ended: ``2026-01-31T12:00:00Z``; empty in records of earlier versions."""
    commit: str = ""
    """Commit of the checkout that ran, with ``-dirty`` if files were changed; empty if it ran from an installed package."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Where the time went: ``pretrain``, ``evaluate``, ``total``."""
    projection: Projection | None = None
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    """Versions, data fingerprint and device class that the key was made of."""
    results: tuple[Mapping[str, Any], ...] = ()
    """The evaluators' own result records, as JSON values."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["cell"] = self.cell.as_dict()
        values["labels"] = {amount: asdict(each) for amount, each in self.labels.items()}
        values["projection"] = None if self.projection is None else vars(self.projection)
        return {"schema": SCHEMA, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`, of values that the schema allows (:func:`selfsup_bench.records.schema.checked`)."""
        taken = {key: value for key, value in values.items() if key != "schema"}
        taken["cell"] = Cell.from_dict(taken["cell"])
        taken["curve"] = tuple((int(step), _number(loss)) for step, loss in taken.get("curve", ()))
        taken["metrics"] = {metric: _number(value) for metric, value in taken.get("metrics", {}).items()}
        for name in ("draws", "rows"):
            taken[name] = {metric: tuple(map(_number, found)) for metric, found in taken.get(name, {}).items()}
        taken["labels"] = {amount: Labels(**each) for amount, each in taken.get("labels", {}).items()}
        taken["results"] = tuple(taken.get("results", ()))
        if taken.get("projection") is not None:
            taken["projection"] = Projection.from_dict(taken["projection"])
        return cls(**taken)


def _number(value: float | None) -> float:
    """JSON has no NaN, so that null stands for it."""
    return math.nan if value is None else float(value)


class RecordStore:
    """The records of one benchmark, by key, in ``<folder>/records``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "records"

    def path(self, key: str) -> Path:
        """Where the record of a key is or will be."""
        return self.folder / f"{key}.json"

    def write(self, record: Record) -> Path:
        """Write a record whole, in place of an older one of its key.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        path = self.path(record.key)
        write_json(path, _finite(record.as_dict()))
        return path

    def read(self, key: str) -> Record | None:
        """The record of a key, or None if it does not exist.

        Raises:
            BenchmarkError: the file is damaged or of a later version.
        """
        path = self.path(key)
        return _read(path) if path.is_file() else None

    def finished(self, key: str) -> bool:
        """Whether a key has a record of a cell that is done; one that is damaged is not."""
        try:
            record = self.read(key)
        except BenchmarkError:
            return False
        return record is not None and record.status == "done"

    def keys(self) -> set[str]:
        """Of all records."""
        return {path.stem for path in self.folder.glob("*.json")}

    def sweep(self) -> None:
        """Remove what a process left that was killed while it wrote; only for who holds the folder's lock."""
        remove_remains(self.folder, any_machine=True)

    def all(self) -> dict[str, Record]:
        """Every record, by key.

        Raises:
            BenchmarkError: a file is damaged or of a later version.
        """
        paths = sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []
        return {path.stem: _read(path) for path in paths}


def _read(path: Path) -> Record:
    return Record.from_dict(checked(read_json(path), "record", path))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BenchmarkError: the file cannot be read or holds something else.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}. Delete it and run the benchmark again with --resume.") from error
    if not isinstance(values, dict):
        raise BenchmarkError(f"{path} holds no JSON object. Delete it and run the benchmark again with --resume.")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object by way of a temporary file beside it, so that no reader ever sees half of it.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    atomic_write(path, json.dumps(values, indent=1, sort_keys=True, allow_nan=True) + "\n")


def _finite(value: Any) -> Any:
    """Null in place of NaN and of infinite numbers, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
