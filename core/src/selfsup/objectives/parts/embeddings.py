"""What is compared after a batch was embedded row by row: tensors that are joined from chunks of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Embeddings:
    """All that the loss of a batch is a function of, a row of each tensor for each row of the batch.

    A field is a tensor [B, ...], a list of such, or None. What is neither is the same for all chunks of a batch.
    """

    trained: ClassVar[tuple[str, ...]] = ()
    """The fields through which gradients reach the networks; they hold tensors or lists of tensors."""

    @classmethod
    def join(cls, chunks: Sequence[Self]) -> Self:
        """Those of a batch from those of its chunks, in their order; what is no tensor is the first chunk's.

        Raises:
            ValueError: a field is None in some chunks only, or lists differ in length.
        """
        first = chunks[0]
        if len(chunks) == 1:
            return first
        return replace(first, **{each.name: _join([getattr(chunk, each.name) for chunk in chunks]) for each in fields(first)})

    def tensors(self) -> list[Tensor]:
        """The tensors of the ``trained`` fields, in their order."""
        found: list[Tensor] = []
        for name in self.trained:
            value = getattr(self, name)
            found.extend([value] if isinstance(value, Tensor) else value)
        return found

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The same with other tensors in the ``trained`` fields, in the order of :meth:`tensors`."""
        left = list(tensors)
        changed: dict[str, Any] = {}
        for name in self.trained:
            value = getattr(self, name)
            changed[name] = left.pop(0) if isinstance(value, Tensor) else [left.pop(0) for _ in value]
        return replace(self, **changed)


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if any((value is None) != (first is None) for value in values):
        raise ValueError("some chunks of a batch have what others lack")
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, list):
        return [_join(each) for each in zip(*values, strict=True)]
    return first
