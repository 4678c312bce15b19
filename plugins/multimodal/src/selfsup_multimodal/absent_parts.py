"""Placeholders for the parts that a row lacks: zeros of the usual shape."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfsup.data import Sample


@dataclass(frozen=True)
class Blank:
    """The placeholder for one key of a part's samples."""

    dtype: str
    shape: tuple[int, ...]
    value: int = 0
    """For a scalar integer a typical value, so that a length is not 0."""

    def array(self) -> np.ndarray[Any, Any]:
        """The placeholder as an array."""
        return np.full(self.shape, self.value, dtype=self.dtype)

    def as_json(self) -> dict[str, Any]:
        """Plain values for the processor's file."""
        return {"dtype": self.dtype, "shape": list(self.shape), "value": self.value}

    @classmethod
    def of_json(cls, state: Mapping[str, Any]) -> Blank:
        """Read the values of :meth:`as_json`."""
        return cls(str(np.dtype(state["dtype"])), tuple(int(size) for size in state["shape"]), int(state["value"]))


def blanks_of(samples: Sequence[Sample], windowed: Collection[str]) -> dict[str, Blank]:
    """The placeholder of each key.

    Args:
        samples: processed rows that have the part, at least one.
        windowed: keys that batches cut to a window; their placeholder is as long as the shortest sample.
    """
    found = {}
    for key in samples[0]:
        arrays = [np.asarray(sample[key]) for sample in samples]
        shapes = {array.shape for array in arrays}
        shape = min(shapes, key=lambda shape: shape[:1])
        if len(shapes) > 1 and key not in windowed:
            shape = (1, *shape[1:])
        whole = not shape and arrays[0].dtype.kind in "iu"
        found[key] = Blank(arrays[0].dtype.name, shape, int(arrays[0]) if whole else 0)
    return found
