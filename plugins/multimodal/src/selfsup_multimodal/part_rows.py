"""Rows of a single part, taken from joined rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data import (
    Processor,
    Rows,
    Sample,
    array_of,
    decisive_roles,
    encode_list,
    filled,
    hashes_of,
    is_blank,
    is_pil,
    pixels_of,
    real_path,
    roles_of,
    split_role,
    spread_rows,
)
from selfsup.errors import BadRowError, ConfigError, DataError, SelfsupError
from selfsup.registry import registry
from selfsup.types import Row
from selfsup_multimodal.columns import parse_parts

LACKING = -1
"""Content number of a missing part."""
_PROBE_ROWS = 16
"""Rows of a part that show the shapes of its samples."""


def modalities_of(rows: Rows | Sequence[Row], written: Sequence[str]) -> dict[str, str]:
    """By part: the id of its modality.

    Raises:
        ConfigError: the modality of a part is unknown.
    """
    if isinstance(rows, Rows) and rows.parts:
        return dict(rows.parts)
    known = {name: part.modality.id for name, part in parse_parts(written).items()}
    keys = rows.columns if isinstance(rows, Rows) else dict.fromkeys(key for row in rows for key in row)
    roles: dict[str, list[str]] = {}
    for key in keys:
        name, role = split_role(key)
        if name:
            roles.setdefault(name, []).append(role)
    found: dict[str, str] = {}
    for name, own in roles.items():
        fitting = [spec.id for spec in registry().modalities.values() if spec.columns and set(spec.columns) <= set(own)]
        if name not in known and name not in registry().modalities and len(fitting) != 1:
            raise ConfigError(f"The modality of the part {name!r} is unknown: set parts=[{name}:MODALITY].")
        found[name] = known.get(name) or (name if name in registry().modalities else fitting[0])
    if len(found) < 2:
        have = ", ".join(keys) or "none"
        raise ConfigError(f"Rows of several parts have keys such as vision/image and text/text; these have {have}.")
    return found


def rows_of_part(rows: Rows | Sequence[Row], part: str, captions: int) -> tuple[Rows | list[Row], int]:
    """Rows of a part's own modality, and how many joined rows have the part; each of several texts is a row."""
    if isinstance(rows, Rows):
        own = rows.of_part(part)
        return _each_text(own) if own.firsts and len(own.columns) == 1 else own, len(own)
    found = [own_rows(row, part, captions) for row in rows]
    if not any(found):
        raise DataError(f"None of the {len(rows)} rows has the part {part!r}.")
    return [item for items in found for item in items], sum(map(bool, found))


def _each_text(rows: Rows) -> Rows:
    """Rows that list texts, split into one row per text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ((_, column),) = rows.columns.items()
    listed = rows.dataset.select_columns([column]).with_format("arrow")[:].column(column)
    texts = pc.list_flatten(listed)
    texts = texts.filter(pa.array(filled(texts)))
    return replace(rows, dataset=type(rows.dataset)(pa.table({column: texts})), firsts=frozenset(), places=None, fingerprint="")


def own_rows(row: Row, part: str, most: int) -> list[Row]:
    """Rows of a part's own modality from one joined row: none if it lacks the part, several if it lists texts."""
    own = roles_of(row, part)
    if not own or all(is_blank(own[role]) for role in decisive_roles(list(own))):
        return []
    listed = next((role for role, value in own.items() if _lists_texts(value)), None)
    if listed is None:
        return [own]
    texts = [text for text in own[listed] if not is_blank(text)]
    return [{**own, listed: text} for text in texts[:most]]


def _lists_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(item is None or isinstance(item, str) for item in value)


def lists_several(rows: Rows | Sequence[Row], part: str) -> bool:
    """Whether rows list several texts for a part."""
    if isinstance(rows, Rows):
        return any(rows.features_list_texts(column) for column in roles_of(rows.columns, part).values())
    return any(_lists_texts(value) for row in rows for value in roles_of(row, part).values())


def probed_samples(name: str, processor: Processor, rows: Rows | Sequence[Row]) -> list[Sample]:
    """Process a few rows of a part.

    Raises:
        DataError: none of them can be processed.
    """
    encoded = naming(name, encode_list, processor, list(spread_rows(rows, _PROBE_ROWS)))
    processor.take_remarks()
    good = [item for item in encoded if not isinstance(item, BadRowError)]
    if not good:
        raise DataError(f"The part {name!r}: none of {len(encoded)} rows can be processed ({encoded[0]}).{lost_files(rows)}")
    return good


def lost_files(rows: Rows | Sequence[Row]) -> str:
    """Advice if all files that a few rows name are missing; else empty."""
    if not isinstance(rows, Rows) or not rows.media:
        return ""
    files = [row[role] for row in spread_rows(rows, _PROBE_ROWS) for role in rows.media]
    paths = [str(file["path"]) for file in files if isinstance(file, Mapping) and file.get("path") and not file.get("bytes")]
    if not paths or any(Path(real_path(path)).exists() for path in paths):
        return ""
    slashes = " Write '/' between folders instead of '\\'." if "\\" in paths[0] and os.sep == "/" else ""
    return (
        f" None of the {len(paths)} files in a sample exists, such as {paths[0]}.{slashes} Set the folder that the paths are "
        "relative to with --set processor.folder=DIR."
    )


def naming(name: str, call: Any, *arguments: Any) -> Any:
    """Call a function; errors name the part."""
    try:
        return call(*arguments)
    except SelfsupError as error:
        lost = lost_files(arguments[-1])
        raise type(error)(f"The part {name!r}: {error}{lost}") from error


def contents_of(rows: Sequence[Row]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[n], equal for equal rows and never :data:`LACKING`."""
    if not rows:
        return np.zeros(0, dtype=np.int64)
    roles = dict.fromkeys(role for row in rows for role in row)
    hashes = hashes_of([{role: _plain(row.get(role)) for role in roles} for row in rows]).view(np.int64)
    return np.where(hashes == LACKING, LACKING - 1, hashes)


def _plain(value: Any) -> Any:
    """PIL images and tensors as arrays, which can be hashed."""
    if is_pil(value):
        return pixels_of(value)
    array = array_of(value)
    return value if array is None else array
