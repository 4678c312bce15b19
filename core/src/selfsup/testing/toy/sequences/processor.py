"""Rows to batches: ``sequence`` ([B, N] long or [B, N, C] float), and ``padding`` ([B, N] bool) where lengths differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from selfsup.config import Config
from selfsup.data.processor import Processor
from selfsup.data.processor_state import reading_state, write_state
from selfsup.data.samples import Sample
from selfsup.errors import BadRowError, DataError
from selfsup.types import Info, Row

_FILE = "processor.json"


class SequenceProcessorConfig(Config):
    """Options of the processor."""

    max_length: int = Field(default=64, ge=2)
    """Tokens of a longer sequence that a batch shows."""
    keep: float = Field(default=1.0, ge=1)
    """Tokens stored of a longer sequence, as a multiple of ``max_length``; training draws its windows from them."""


class SequenceProcessor(Processor):
    """Learns whether rows are ids or frames, and the number of ids, or the mean and deviation of each channel."""

    modality: ClassVar[str] = "sequence"
    window_key: ClassVar[str] = "sequence"
    adjustable: ClassVar[frozenset[str]] = frozenset({"max_length", "keep"})
    Config = SequenceProcessorConfig
    config: SequenceProcessorConfig

    def __init__(self, config: SequenceProcessorConfig) -> None:
        super().__init__(config)
        self.fitted: dict[str, Any] = {}

    def fit(self, rows: Iterable[Row]) -> Self:
        """Look at all rows; those that cannot be read are passed over."""
        arrays: list[np.ndarray[Any, Any]] = []
        for row in rows:
            try:
                arrays.append(self._read(row))
            except BadRowError:
                continue
        arrays = [array for array in arrays if array.ndim == arrays[0].ndim]
        if not arrays:
            raise DataError("There is no row with a readable sequence to fit the processor on.")
        length = max(len(array) for array in arrays)
        if arrays[0].ndim == 1:
            # One id more than was seen stands for all that were not.
            self.fitted = {"kind": "ids", "length": length, "vocabulary": int(max(array.max() for array in arrays)) + 2}
            return self
        frames = np.concatenate([array for array in arrays if array.shape[1] == arrays[0].shape[1]]).astype(np.float64)
        self.fitted = {
            "kind": "frames",
            "length": length,
            "channels": frames.shape[1],
            "mean": frames.mean(axis=0).tolist(),
            "std": np.maximum(frames.std(axis=0), 1e-6).tolist(),
        }
        return self

    @property
    def window_steps(self) -> int:
        """``max_length``."""
        return self.config.max_length

    def window_start(self, steps: int, generator: np.random.Generator | None) -> int:
        """Evaluation takes the beginning."""
        return 0 if generator is None else super().window_start(steps, generator)

    def info(self) -> Info:
        """``kind``, ``length`` (of the longest sequence), and ``vocabulary``, or ``channels``, ``mean`` and ``std``."""
        return dict(self.fitted)

    def encode(self, row: Row) -> Sample:
        """One row to ids or frames."""
        array = self._read(row)
        if (array.ndim == 1) != (self.fitted["kind"] == "ids"):
            raise BadRowError(
                f"the sequence has {array.ndim - 1} numbers a token dimension, but the data is {self.fitted['kind']}"
            )
        if array.ndim == 1:
            unknown = self.fitted["vocabulary"] - 1
            return {"sequence": np.where(array < unknown, array, unknown)}
        if array.shape[1] != self.fitted["channels"]:
            raise BadRowError(f"frames have {array.shape[1]} channels, not {self.fitted['channels']}")
        return {"sequence": array}

    def _read(self, row: Row) -> np.ndarray[Any, Any]:
        try:
            array = np.asarray(row["sequence"])
        except (KeyError, ValueError) as error:
            raise BadRowError(f"no sequence can be read from it ({error})") from error
        if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "iuf":
            raise BadRowError("a sequence is a list of ids or a list of frames, and not empty")
        array = array[: round(self.config.keep * self.config.max_length)]
        if array.ndim == 1:
            if array.dtype.kind == "f" or array.min() < 0:
                raise BadRowError("ids are whole numbers from 0 on")
            return array.astype(np.int64)
        if not np.isfinite(array).all():
            raise BadRowError("a frame holds NaN or infinity")
        return array.astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write ``processor.json``."""
        write_state(directory / _FILE, self.config, fitted=self.fitted)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read ``processor.json``."""
        with reading_state(directory / _FILE, "sequence", SequenceProcessorConfig) as (config, state):
            processor = cls(config)
            processor.fitted = state["fitted"]
        return processor
