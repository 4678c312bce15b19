"""Batches of rows with several parts (a picture and its caption), and rows that lack a part.

The keys of such a batch are ``<part>/<key>``, where a part has a name and ``<key>`` is one of its own modality. For every part
``<part>/present`` ([B] bool) says which rows have it. What stands in the other keys of a row that lacks the part means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from selfsup.types import Batch

MARK = "/"
"""Stands between the name of a part and a key."""
PRESENT = "present"
"""Key that says which rows have a part."""
CONTENT = "content"
"""Key of a number for what a part holds, [B] long: equal for equal contents, -1 where a row lacks the part."""
_OF_THE_ROW = (PRESENT, CONTENT)


def part_names(batch: Mapping[str, object]) -> tuple[str, ...]:
    """The parts that a batch holds, in its order; empty for a batch of one kind of data."""
    return tuple(dict.fromkeys(key.partition(MARK)[0] for key in batch if MARK in key))


def part_of(batch: Batch, part: str) -> Batch:
    """The batch of one part, as its own modality has it.

    Args:
        batch: holds the part.
        part: its name; empty: the batch is of one kind of data, and is given back.

    Raises:
        KeyError: the batch holds no such part.
    """
    if not part:
        return batch
    start = part + MARK
    own = {key.removeprefix(start): value for key, value in batch.items() if key.startswith(start)}
    if not own:
        raise KeyError(f"the batch has no part {part!r}; its parts are {', '.join(part_names(batch)) or 'none'}")
    return {key: value for key, value in own.items() if key not in _OF_THE_ROW}


def only_part(batch: Batch, part: str) -> Batch:
    """The same batch with one part's keys alone, under their names: a view of that part."""
    return {key: value for key, value in batch.items() if key.startswith(part + MARK)}


def presence(batch: Batch, part: str) -> Tensor | None:
    """[B] bool, which rows have a part; None where the batch does not say, so that all have it."""
    return batch.get(f"{part}{MARK}{PRESENT}") if part else None


def join_parts(batches: Mapping[str, Batch]) -> Batch:
    """One batch of the batches of several parts, by their names."""
    return {f"{part}{MARK}{key}": value for part, batch in batches.items() for key, value in batch.items()}


def fill_absent(batch: Batch, present: Tensor | None) -> Batch:
    """The batch of one part, in which rows that lack it hold what rows that have it do, taken in turn.

    So no statistic over the batch (batch norm) is of blank rows. Where no row has the part, all hold what the first row does.

    Args:
        batch: of one part, as from :func:`part_of`.
        present: [B] bool from :func:`presence`; None: every row has it.
    """
    if present is None:
        return batch
    size = present.shape[0]  # len() would fix it in exported programs
    places = torch.arange(size, device=present.device)
    # The places of rows that have the part, in their order, and behind them what is not looked at; no wait for the device.
    rank = torch.where(present, present.cumsum(0) - 1, size)
    order = torch.zeros(size + 1, dtype=places.dtype, device=places.device).scatter(0, rank, places)
    donors = order[places % present.sum().clamp_min(1)]
    index = torch.where(present, places, donors)
    return {key: value.index_select(0, index) for key, value in batch.items()}
