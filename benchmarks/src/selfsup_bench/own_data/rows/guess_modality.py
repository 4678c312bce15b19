"""Guesses which modality own data is of, from names of files and from the columns of a table."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfsup.data import Rows, TableFormat, available_splits, feature_name, load_source, medium_of, table_suffixes
from selfsup.errors import ColumnError, ConfigError, MissingPluginError, SelfsupError
from selfsup.registry import ModalitySpec, registry

_FILES = 5_000
"""Files of a folder that are looked at."""
_SAMPLE = 200
"""Rows of a table that are looked at."""
_LETTERS = 20
"""Mean length from which on texts are sentences rather than names of categories."""


def guess_modality(
    source: str, *, label: str | None = None, table: Mapping[str, Any] | None = None, columns: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """The modality of a source, and why.

    Args:
        source: what ``--data`` names.
        label: the label column, if one is named.
        table: how a text table is read, where that cannot be found.
        columns: role to column, as named.

    Raises:
        ConfigError: the modality cannot be guessed.
        ColumnError: it cannot be guessed, and the label column does not exist.
    """
    known = registry()
    name = source.partition(":")[0]
    if name in known.datasets:
        return known.datasets[name].modality, f"the data set {name} is of it"
    if base := os.environ.get("SELFSUP_DATA"):
        for modality in known.modalities:
            if name and (Path(base).expanduser() / modality / name).is_dir() and not Path(source).exists():
                return modality, f"{base} has it there"
    path = Path(source).expanduser()
    plain = [spec for spec in known.modalities.values() if not spec.joins]
    if path.is_dir() and (found := _by_files(path, plain)) is not None:
        return found
    return _by_columns(source, plain, label, TableFormat.of(table), dict(columns or {}))


def _by_files(folder: Path, modalities: list[ModalitySpec]) -> tuple[str, str] | None:
    files = itertools.islice((item for item in folder.rglob("*") if not item.name.startswith(".")), _FILES)
    suffixes = Counter(item.suffix.lower() for item in files if item.is_file())
    counts = {
        spec.id: sum(count for suffix, count in suffixes.items() if suffix in set(spec.suffixes) - set(table_suffixes(spec)))
        for spec in modalities
    }
    counts |= {spec.id: suffixes[".txt"] for spec in modalities if ".txt" in spec.suffixes}
    tables = sum(suffixes[suffix] for suffix in (".csv", ".tsv", ".parquet", ".jsonl", ".arrow"))
    best = max(counts, key=lambda id: counts[id], default="")
    # A folder of frames is a video, which only the user can say: a folder of pictures is more usual.
    if best and counts[best] > tables:
        return best, f"{counts[best]:,} files in it are"
    return None


def _by_columns(
    source: str, modalities: list[ModalitySpec], label: str | None, form: TableFormat, columns: dict[str, str]
) -> tuple[str, str]:
    reasons = []
    for spec in sorted(modalities, key=_specific):
        try:
            splits = available_splits(source, modality=spec)
            split = "train" if "train" in splits else splits[0]
            given = {role: column for role, column in columns.items() if role in spec.columns}
            rows = _rows(source, spec, split, label, given, form)
        except MissingPluginError:
            raise
        except SelfsupError as error:
            reasons.append(f"{spec.id}: {error}")
            continue
        if (why := _fits(rows, spec)) is not None:
            return spec.id, why
    if label is not None:
        _check_label(source, modalities, label, form)
    known = ", ".join(registry().modalities)
    tried = reasons[0] if len(reasons) == 1 else " ".join(reasons[:3])
    raise ConfigError(f"The kind of data in {source} cannot be guessed. Set --modality to one of {known}. {tried}")


def _rows(
    source: str, spec: ModalitySpec, split: str, label: str | None, columns: Mapping[str, str], form: TableFormat
) -> Rows:
    """The rows read as a modality; without the label column if it does not exist, which is an error later."""
    try:
        return load_source(source, modality=spec, split=split, label=label, columns=columns, table=form)
    except ColumnError:
        if label is None:
            raise
        return load_source(source, modality=spec, split=split, columns=columns, table=form)


def _check_label(source: str, modalities: list[ModalitySpec], label: str, form: TableFormat) -> None:
    """Raise a ColumnError if the source can be read, and has no such column: that is what is wrong then, first of all."""
    for spec in modalities:
        plain = replace(spec, columns={})  # any columns
        try:
            split = available_splits(source, modality=plain)[0]
            load_source(source, modality=plain, split=split, table=form)
        except SelfsupError:
            continue
        load_source(source, modality=plain, split=split, label=label, table=form)
        return


def _specific(spec: ModalitySpec) -> int:
    """Those that take files first, then those that take texts, last those that take any column."""
    kinds = {kind.lower() for kind in spec.columns.values()}
    return 2 if not kinds else 1 if kinds == {"string"} else 0


def _fits(rows: Rows, spec: ModalitySpec) -> str | None:
    """Why rows that can be read as of a modality are of it; None where they are more likely of another."""
    if not spec.columns:
        return f"its columns are {', '.join(list(rows.columns)[:4])}{', ...' if len(rows.columns) > 4 else ''}"
    column = next(iter(rows.columns.values()))
    if not all(kind.lower() == "string" for kind in spec.columns.values()):
        values = rows.dataset.with_format("arrow")[: min(_SAMPLE, len(rows))].column(column).to_pylist()
        medium = medium_of(rows.dataset.features[column], values, [spec])
        return f"column {column!r} holds its files" if medium else None
    others = [name for name in rows.dataset.column_names if name not in {column, rows.label}]
    sample = rows.dataset.select(range(min(_SAMPLE, len(rows))))
    texts = [text for text in sample.with_format(None)[column] if isinstance(text, str)]
    media = [name for name in others if medium_of(rows.dataset.features[name], sample[name])]
    long = bool(texts) and sum(map(len, texts)) / len(texts) >= _LETTERS
    several = sum(feature_name(rows.dataset.features[name]) not in ("string", "null") for name in others)
    if media or (others and not long) or several > 3:
        return None
    return f"column {column!r} holds texts"
