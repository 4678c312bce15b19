"""Load the rows of a source for an encoder: one modality, several parts, or one part of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from selfsup.data import Rows, available_splits, load_source
from selfsup.data.sources.columns.joined import split_role
from selfsup.errors import ColumnError, SourceError
from selfsup.registry import registry

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


def load_rows(
    encoder: Encoder, source: Any, *, part: str | None = None, columns: Mapping[str, str] | None = None, **options: Any
) -> Rows:
    """The rows of a source for an encoder.

    Args:
        encoder: for rows with several parts if ``part`` is given.
        source: what :func:`selfsup.data.load_source` takes.
        part: the source has joined rows, or rows of this part's modality (a folder of photos). :func:`rows_of_part` takes the
            part out of joined rows.
        columns: role to column; a role may belong to a part (``vision/image``).
        **options: of :func:`selfsup.data.load_source`.

    Raises:
        SourceError: the source is missing or has nothing usable.
        ColumnError: a column is missing, ambiguous or of the wrong type.
    """
    chosen = encoder.processor.source_options()
    modality = registry().get("modality", encoder.modality)
    if part is None:
        return load_source(source, modality=modality, columns=columns, options=chosen, **options)
    try:
        return load_source(source, modality=modality, columns=columns, options=chosen, **options)
    except (SourceError, ColumnError) as error:
        processor = encoder.processor.parts[part]
        roles = {role: split_role(role) for role in columns or {}}
        own = {rest: (columns or {})[role] for role, (owner, rest) in roles.items() if owner in ("", part)}
        plain = registry().get("modality", processor.modality)
        try:
            return load_source(source, modality=plain, columns=own, options=processor.source_options(), **options)
        except (SourceError, ColumnError) as second:
            raise type(second)(f"{second} (Nor are they rows of all parts: {error})") from error


def splits_of(encoder: Encoder, source: Any, part: str | None = None) -> tuple[str, ...]:
    """The splits of a source; arguments as for :func:`load_rows`."""
    joined = registry().get("modality", encoder.modality)
    if part is None:
        return available_splits(source, modality=joined)
    try:
        if (known := available_splits(source, modality=joined)) != ("train",):
            return known
    except SourceError:  # a data set of the part's own modality
        pass
    return available_splits(source, modality=registry().get("modality", encoder.processor.parts[part].modality))


def rows_of_part(rows: Rows, part: str | None, say: Callable[[str], None], *, what: str = "") -> Rows:
    """The joined rows that have a part, as rows of its modality; other rows are returned unchanged.

    Args:
        rows: from :func:`load_rows`.
        part: its name, or None.
        say: shows a line with the number of rows without the part.
        what: name of the rows in that line (``training``, ``test``).

    Raises:
        DataError: no row has the part.
    """
    if part is None or not rows.parts:
        return rows
    own = rows.of_part(part)
    if lacking := len(rows) - len(own):
        named = f"{what} rows" if what else "rows"
        say(f"{lacking} of the {len(rows)} {named} of {rows.name} lack the part {part!r} and are left out.")
    return own


def has_labels(rows: Rows) -> bool:
    """Whether the label column that was found holds labels."""
    try:
        return rows.label is not None and rows.label_reader is not None
    except ColumnError:
        return False
