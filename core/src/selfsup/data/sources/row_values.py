"""Turn rows to embed, in any form, into dicts of roles."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from selfsup.data.rows import Rows
from selfsup.data.sources.columns.joined import split_role
from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.in_memory import records, role_of
from selfsup.data.sources.layout import splits_in
from selfsup.data.sources.media.encode import array_of, is_medium, media_file
from selfsup.errors import SelfsupError, SourceError
from selfsup.types import Row


def rows_to_embed(source: Any, modality: str, options: Mapping[str, Any] | None = None) -> Rows | Iterable[Row]:
    """Rows of any kind as dicts of roles.

    Args:
        source: :class:`Rows`, a table or data set in memory, or what ``records`` takes. Dicts of roles stay as they are.
        modality: id of the modality.
        options: :meth:`selfsup.data.Processor.source_options` of the processor.

    Raises:
        SourceError: it is a single row, or holds no rows.
    """
    if isinstance(source, Rows):
        return source
    from selfsup.data.sources.load import is_whole_source, load_source
    from selfsup.registry import registry

    known = registry().modalities.get(modality)
    joined = known is not None and known.joins
    if isinstance(source, list | tuple | Iterator):
        first, items = _peeked(source)
        if first is None or (isinstance(first, Mapping) and not is_medium(first) and _are_roles(first, joined=joined)):
            return items
        source = items
    if isinstance(source, str | os.PathLike):
        shown = f"{os.fspath(source)[:60]!r}"
        raise SourceError(
            f"{shown} is one row, not several: give [{shown}] for one. The rows of a file or folder are embedded by "
            "selfsup.embed(encoder, source, out)."
        )
    spec = registry().get("modality", modality)
    if splits_in(source) or is_whole_source(source, spec) or spec.joins:
        return load_source(source, modality=spec, options=options).without_labels()
    if (array := array_of(source)) is not None and array.ndim and not len(array):
        return iter(())
    role, kind = role_of(spec)
    return _of_records(records(source, spec).rows, role, kind)


def _of_records(rows: Iterator[dict[str, Any]], role: str, kind: str) -> Iterator[Row]:
    """Records reduced to roles, with media as the processor gets them from files."""
    for place, record in enumerate(rows):
        if kind not in MEDIA:
            yield {role: record[role]} if role else {name: value for name, value in record.items() if name != "label"}
            continue
        try:
            yield {role: media_file(record.get(role), kind)}
        except SelfsupError as error:
            raise SourceError(f"Item {place}: {error}") from error


def _are_roles(row: Mapping[str, Any], *, joined: bool) -> bool:
    """Whether the keys of a dict are roles; for rows that join parts they may be columns instead."""
    return not joined or any(split_role(key)[0] for key in row)


def _peeked(source: list[Any] | tuple[Any, ...] | Iterator[Any]) -> tuple[Any, Iterable[Any]]:
    """The first item (None if there is none), and all of them."""
    if isinstance(source, list | tuple):
        return (source[0] if source else None), source
    first = next(source, None)
    return first, (iter(()) if first is None else itertools.chain([first], source))
