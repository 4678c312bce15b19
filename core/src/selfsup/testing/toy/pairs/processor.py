"""Rows of two sequences to batches: the keys of each part under its name, and ``<part>/present``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from selfsup.batch_parts import MARK, PRESENT, join_parts
from selfsup.config import Config
from selfsup.data.processor import Processor
from selfsup.data.processor_state import reading_state, write_state
from selfsup.data.samples import Sample
from selfsup.data.sources.columns.joined import JoinedColumns, SourceColumns, split_role
from selfsup.data.sources.columns.roles import describe_columns, feature_fits
from selfsup.errors import BadRowError, ColumnError
from selfsup.testing.toy.pairs.rows import PARTS
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig
from selfsup.types import Batch, Info, Row

_FILE = "processor.json"


class PairProcessorConfig(Config):
    """Options of the processor: those of each part."""

    first: SequenceProcessorConfig = SequenceProcessorConfig()
    """Of the first sequence."""
    second: SequenceProcessorConfig = SequenceProcessorConfig()
    """Of the second sequence."""


class PairProcessor(Processor):
    """A processor for each of the two sequences; a row needs one of them."""

    modality: ClassVar[str] = "sequence-pair"
    Config = PairProcessorConfig
    config: PairProcessorConfig

    def __init__(self, config: PairProcessorConfig) -> None:
        super().__init__(config)
        self._parts = {part: SequenceProcessor(getattr(config, part)) for part in PARTS}

    @classmethod
    def choose_columns(cls, source: SourceColumns, options: Mapping[str, Any]) -> JoinedColumns:
        """Each part takes the column that is given for it, or is of its name, else the next one that holds lists.

        Raises:
            ColumnError: there are fewer than two such columns, or a role or column that is given does not exist.
        """
        lists = [
            column for column in source.features if column != source.label and feature_fits(source.features[column], "list")
        ]
        given: dict[str, str] = {}
        for role, column in source.given.items():
            part, own = split_role(role)
            if part not in PARTS or own != "sequence" or column not in lists:
                raise ColumnError(f"{source.name}: {role}={column} names no part ({', '.join(PARTS)}) or no column of lists.")
            given[part] = column
        for part in PARTS:
            for name in (f"{part}{MARK}sequence", part):
                if name in lists and name not in given.values():
                    given.setdefault(part, name)
        for part in PARTS:
            free = next((column for column in lists if column not in given.values()), None)
            if part not in given and free is None:
                raise ColumnError(f"{source.name} has no column for {part}/sequence: {describe_columns(source.features)}.")
            given.setdefault(part, str(free))
        return JoinedColumns({f"{part}{MARK}sequence": given[part] for part in PARTS}, dict.fromkeys(PARTS, "sequence"))

    @property
    def parts(self) -> Mapping[str, Processor]:
        """``first`` and ``second``."""
        return self._parts

    def fit(self, rows: Iterable[Row]) -> Self:
        """Fit each part on the rows that have it."""
        kept = list(rows)
        for part, own in self._parts.items():
            own.fit(row for row in (_of(row, part) for row in kept) if row["sequence"] is not None)
        return self

    def info(self) -> Info:
        """By part its modality and what its own processor says."""
        return {"parts": {part: {"modality": own.modality, "info": dict(own.info())} for part, own in self._parts.items()}}

    def windowed(self) -> Mapping[str, Processor]:
        """Both sequences."""
        return {f"{part}{MARK}sequence": own for part, own in self._parts.items()}

    def encode(self, row: Row) -> Sample:
        """Both sequences; one that is not there is a single step of zeros."""
        rows = {part: _of(row, part) for part in PARTS}
        present = {part: own["sequence"] is not None for part, own in rows.items()}
        if not any(present.values()):
            raise BadRowError("it has neither a first nor a second sequence")
        samples = {part: own.encode(rows[part]) if present[part] else _blank(own.info()) for part, own in self._parts.items()}
        joined = {f"{part}{MARK}{key}": value for part, sample in samples.items() for key, value in sample.items()}
        return {**joined, **{f"{part}{MARK}{PRESENT}": np.asarray(there) for part, there in present.items()}}

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join the samples of each part as its own processor does."""
        batches: dict[str, Batch] = {}
        for part, own in self._parts.items():
            start = part + MARK
            mine = {key.removeprefix(start): value for key, value in samples.items() if key.startswith(start)}
            present = mine.pop(PRESENT)
            assert isinstance(present, Tensor)
            batches[part] = {**own.collate(mine), PRESENT: present}
        return join_parts(batches)

    def save(self, directory: Path) -> None:
        """Write ``processor.json``, and a folder a part."""
        write_state(directory / _FILE, self.config)
        for part, own in self._parts.items():
            (directory / part).mkdir(exist_ok=True)
            own.save(directory / part)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote."""
        with reading_state(directory / _FILE, "sequence-pair", PairProcessorConfig) as (config, _):
            processor = cls(config)
            processor._parts = {part: SequenceProcessor.load(directory / part) for part in PARTS}
        return processor


def _of(row: Row, part: str) -> Row:
    return {"sequence": row.get(f"{part}{MARK}sequence")}


def _blank(info: Info) -> Sample:
    """What stands in the place of a sequence that is not there."""
    shape = (1,) if info["kind"] == "ids" else (1, info["channels"])
    return {"sequence": np.zeros(shape, dtype=np.int64 if info["kind"] == "ids" else np.float32)}
