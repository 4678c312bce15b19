"""The base of processors of images and of videos: square frames whose side is set, or chosen from a sample of the rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from selfsup.config import Config
from selfsup.data import Processor, read_sample, reading_state, write_state
from selfsup.types import Row

T = TypeVar("T")


class SquareProcessor(Processor):
    """A processor whose frames are squares of S pixels a side.

    Args:
        config: with the field ``image_size``, S in pixels or "auto".
    """

    noun: ClassVar[str]
    """What a row holds, for messages and for the name of its file: ``image``, ``video``."""
    fit_rows: ClassVar[int]
    """Rows from which S is chosen; only their headers are read."""
    auto_sizes: ClassVar[tuple[int, int]]
    """Smallest and largest S that is chosen."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        size = config.model_dump()["image_size"]
        self._image_size: int | None = None if size == "auto" else int(size)

    @abstractmethod
    def shorter_side(self, row: Row) -> int:
        """Of what a row holds, in pixels.

        Raises:
            BadRowError: it cannot be read.
        """

    @property
    def image_size(self) -> int:
        """S in pixels; with "auto" only after :meth:`fit`."""
        if self._image_size is None:
            raise ValueError("image_size is 'auto' and the processor has not been fitted: call fit(rows) first")
        return self._image_size

    def fit(self, rows: Iterable[Row]) -> Self:
        """With ``image_size="auto"``, choose the size from :attr:`fit_rows` rows, spread over all of them.

        Raises:
            SourceError: none of these rows can be read.
        """
        if self._image_size is None:
            self._image_size = auto_size(self.sampled(rows, self.shorter_side), *self.auto_sizes)
        return self

    def sampled(self, rows: Iterable[Row], read: Callable[[Row], T]) -> list[T]:
        """The result of ``read`` for each readable row of :attr:`fit_rows` rows, spread over all rows.

        Raises:
            SourceError: none of these rows can be read.
        """
        return read_sample(rows, self.fit_rows, read, noun=self.noun, choice="The image size")

    def adjusted(self, config: Config) -> Self:
        """The same with frames of another size; "auto" keeps the one that was chosen."""
        twin = super().adjusted(config)
        size = config.model_dump()["image_size"]
        twin._image_size = self._image_size if size == "auto" else int(size)
        return twin

    def save(self, directory: Path) -> None:
        """Write the config and what was chosen as JSON."""
        write_state(self._file(directory), self.config, **self.fitted())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        with reading_state(cls._file(directory), cls.noun, cls.Config) as (config, state):
            processor = cls(config)
            processor.restore(state)
        return processor

    def fitted(self) -> dict[str, Any]:
        """What was chosen, as JSON values."""
        return {"image_size": self.image_size}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`fitted` returned."""
        self._image_size = int(state["image_size"])

    @classmethod
    def _file(cls, directory: Path) -> Path:
        return Path(directory) / f"{cls.noun}_processor.json"


def auto_size(sides: Sequence[int], smallest: int, largest: int) -> int:
    """The size for these shorter sides: their median, within the limits; above 64 rounded down to a multiple of 16."""
    size = min(max(int(np.median(sides)), smallest), largest)
    return size if size <= 64 else size - size % 16
