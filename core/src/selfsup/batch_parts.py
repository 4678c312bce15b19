"""Batches of rows with several parts (an image and its caption), and rows that lack a part.

The keys of such a batch are ``<part>/<key>``, with the name of the part and a key of its modality. ``<part>/present``
([B] bool) marks the rows that have the part. Other values of a row that lacks the part have no meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from selfsup.types import Batch

MARK = "/"
"""Separates the name of a part and a key."""
PRESENT = "present"
"""Key of the mask of rows that have a part."""
CONTENT = "content"
"""Key of a number for the content of a part, [B] long: equal for equal contents, -1 if a row lacks the part."""
_OF_THE_ROW = (PRESENT, CONTENT)


def part_names(batch: Mapping[str, object]) -> tuple[str, ...]:
    """The parts of a batch, in its order; empty for a batch of one kind of data."""
    return tuple(dict.fromkeys(key.partition(MARK)[0] for key in batch if MARK in key))


def part_of(batch: Batch, part: str) -> Batch:
    """The batch of one part, with the keys of its own modality; with an empty ``part`` the batch itself.

    Raises:
        KeyError: the batch has no such part.
    """
    if not part:
        return batch
    start = part + MARK
    own = {key.removeprefix(start): value for key, value in batch.items() if key.startswith(start)}
    if not own:
        raise KeyError(f"the batch has no part {part!r}; its parts are {', '.join(part_names(batch)) or 'none'}")
    return {key: value for key, value in own.items() if key not in _OF_THE_ROW}


def only_part(batch: Batch, part: str) -> Batch:
    """The keys of one part, under their full names: a view of that part."""
    return {key: value for key, value in batch.items() if key.startswith(part + MARK)}


def presence(batch: Batch, part: str) -> Tensor | None:
    """[B] bool, which rows have a part; None if all have it."""
    return batch.get(f"{part}{MARK}{PRESENT}") if part else None


def join_parts(batches: Mapping[str, Batch]) -> Batch:
    """Join the batches of several parts, by name, into one batch."""
    return {f"{part}{MARK}{key}": value for part, batch in batches.items() for key, value in batch.items()}


def fill_absent(batch: Batch, present: Tensor | None) -> Batch:
    """The batch of one part, with rows that lack it filled by rows that have it, in turn.

    So batch statistics (batch norm) do not include blank rows. If no row has the part, all get the values of the first row.

    Args:
        batch: of one part, as from :func:`part_of`.
        present: [B] bool from :func:`presence`; None: every row has it.
    """
    if present is None:
        return batch
    size = present.shape[0]  # len() would make it constant in exported programs
    places = torch.arange(size, device=present.device)
    # Indices of rows that have the part, in order, followed by unused entries; without a host sync.
    rank = torch.where(present, present.cumsum(0) - 1, size)
    order = torch.zeros(size + 1, dtype=places.dtype, device=places.device).scatter(0, rank, places)
    donors = order[places % present.sum().clamp_min(1)]
    index = torch.where(present, places, donors)
    return {key: value.index_select(0, index) for key, value in batch.items()}
