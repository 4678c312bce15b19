"""Read lists of files: a text file with a path per line, or a table with a column of paths."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.data.sources.columns.roles import MEDIA, feature_fits
from selfsup.data.sources.tables.encodings import decode_text
from selfsup.errors import ColumnError, SourceError

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

LIST_SUFFIXES = (".txt", ".lst", ".list")
_LOOKED_AT = 64
"""Number of values that decide whether a column of texts holds paths."""
_MOST = 0.8
"""Share of them that must look like paths."""
_USUAL_NAMES = ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "audio_path", "video_path")


def is_path_list(path: Path, modality: ModalitySpec) -> bool:
    """Whether a text file is a list of files for this modality; for a modality of texts its lines are rows."""
    return path.suffix.lower() in LIST_SUFFIXES and any(kind.lower() in MEDIA for kind in modality.columns.values())


def read_path_list(path: Path, modality: ModalitySpec, encoding: str = "") -> tuple[Any, str]:
    """The rows of a list of files as a ``datasets.Dataset``, and the hash of the list.

    A line is a path, relative to the list's folder, optionally followed by a tab, comma, semicolon or space and a label. Empty
    lines and lines that start with ``#`` are skipped. An empty ``encoding`` is detected.

    Raises:
        SourceError: it cannot be read, or holds no row.
    """
    import datasets

    role = next(role for role, kind in modality.columns.items() if kind.lower() in MEDIA)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror or error}.") from error
    text, _ = decode_text(content, str(path), encoding)
    suffixes = (*modality.suffixes, *modality.frame_suffixes)
    lines = [line.strip() for line in text.splitlines()]
    parsed = [_parsed(line, suffixes) for line in lines if line and not line.startswith("#")]
    if not parsed:
        raise SourceError(f"{path} holds no row: a line is the path of a file, relative to {path.parent}.")
    features: dict[str, Any] = {role: {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    columns: dict[str, Any] = {role: [{"bytes": None, "path": file} for file, _ in parsed]}
    if all(label for _, label in parsed):
        features["label"], columns["label"] = datasets.Value("string"), [label for _, label in parsed]
    dataset = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    return dataset, hashlib.sha256(content).hexdigest()


def _parsed(line: str, suffixes: tuple[str, ...]) -> tuple[str, str]:
    """The path of a line, and its label or an empty text."""
    if line[0] in "\"'" and line[0] in line[1:]:
        file, _, rest = line[1:].partition(line[0])
        return file, rest.strip("\t,; ")
    if line.lower().endswith(suffixes):
        return line, ""
    for match in re.finditer(r"[\t,; ]+", line):
        file, label = line[: match.start()], line[match.end() :]
        if file.lower().endswith(suffixes):
            return file, label.strip("\"'")
    return line, ""


def find_path_columns(
    dataset: Any, modality: ModalitySpec, given: Mapping[str, str], label: str | None, name: str
) -> dict[str, str]:
    """Role to column for media roles that no column fits by type: the column of texts that holds paths of such files.

    Args:
        dataset: the rows.
        modality: the kind of data.
        given: role to column, from the user.
        label: the label column.
        name: the source, for messages.

    Raises:
        ColumnError: several columns hold such paths.
    """
    found: dict[str, str] = {}
    features = dataset.features
    for role, kind in modality.columns.items():
        if role in given or role in features or kind.lower() not in MEDIA:
            continue
        if any(feature_fits(feature, kind) for column, feature in features.items() if column != label):
            continue
        suffixes = (*modality.suffixes, *modality.frame_suffixes)
        texts = [column for column, feature in features.items() if column != label and feature_fits(feature, "string")]
        columns = [column for column in texts if _holds_paths(sample_values(dataset, column), suffixes)]
        usual = [column for column in columns if column.lower() in _USUAL_NAMES]
        if headless := [column for column in features if column.lower().endswith(suffixes)]:
            raise ColumnError(
                f"The first line of {name} looks like a row ({headless[0]}), but is read as the names of the columns: add "
                f"--no-header, or a first line with names, such as {_header(features, suffixes)}."
            )
        if len(columns) > 1 and len(usual) != 1:
            raise ColumnError(
                f"{name} has several columns of paths ({', '.join(columns)}). Choose one with --column {role}=NAME."
            )
        if columns:
            found[role] = usual[0] if usual else columns[0]
    return found


def _header(features: Mapping[str, Any], suffixes: tuple[str, ...]) -> str:
    """A header line for a table that lacks one."""
    names = ["path" if column.lower().endswith(suffixes) else "label" for column in features]
    return ",".join(names if len(set(names)) == len(names) else ["path", "label", "..."])


def sample_values(dataset: Any, column: str) -> list[Any]:
    """The non-empty values of a column in at most 64 rows, spread over all rows."""
    places = np.unique(np.linspace(0, len(dataset) - 1, _LOOKED_AT).astype(int))
    values = dataset.select_columns([column]).with_format("arrow")[places.tolist()].column(column).to_pylist()
    return [value for value in values if value]


def _holds_paths(values: Sequence[str], suffixes: tuple[str, ...]) -> bool:
    looks = sum(value.lower().endswith(suffixes) for value in values)
    return bool(values) and looks >= _MOST * len(values)
