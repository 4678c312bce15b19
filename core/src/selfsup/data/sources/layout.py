"""Detect the layout of a folder: which files are tables, and which subfolders are splits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.tables.encodings import kind_suffix
from selfsup.data.sources.tables.read import CELL_TEXTS, TABLE_SUFFIXES
from selfsup.data.sources.tables.tars import TAR_SUFFIXES
from selfsup.errors import SourceError

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""The splits, and the names of their folders, files and keys."""
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
"""Such a name to its split."""


def table_suffixes(modality: ModalitySpec) -> tuple[str, ...]:
    """Suffixes of tables that can hold rows of a modality; text files hold cells or lines."""
    unfit: tuple[str, ...] = TAR_SUFFIXES  # a modality of tables has no files
    if modality.joins:
        unfit = CELL_TEXTS
    elif modality.columns:
        unfit = CELL_TEXTS if "string" not in modality.columns.values() else CELL_TEXTS[1:]
    return tuple(suffix for suffix in TABLE_SUFFIXES if Path(suffix).stem not in unfit and suffix not in unfit)


def is_table(file: Path, modality: ModalitySpec) -> bool:
    """Whether a file is a table for this modality, by its name."""
    return file.name.lower().endswith(table_suffixes(modality)) and not file.name.startswith(".") and file.is_file()


def of_one_kind(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """The tables of a folder to use, and those to skip: notes (txt, json) and archives beside tables."""
    main = [file for file in files if kind_suffix(file) not in (".txt", ".json", ".tar")] or [
        file for file in files if kind_suffix(file) == ".tar"
    ]
    if not main or len({kind_suffix(file) for file in main}) > 1:
        return files, []
    return main, [file for file in files if file not in main]


def parts_of(folder: Path, modality: ModalitySpec) -> dict[str, list[Path]]:
    """Split to its folder, or to its table files (``train.csv``, ``train-00000-of-00002.parquet``).

    A single folder with such a name among others is a class (trains, planes, cars).
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise SourceError(f"Cannot list {folder}: {error.strerror or error}.") from error
    folders = [entry for entry in entries if entry.is_dir()]
    split_folders = [entry for entry in folders if entry.name.lower() in SPLIT_OF]
    if len(split_folders) == 1 and len(folders) > 1:
        split_folders = []
    parts: dict[str, list[Path]] = {}
    for split, names in SPLIT_NAMES.items():
        directories = [entry for entry in split_folders if entry.name.lower() in names]
        pattern = re.compile(rf"({'|'.join(names)})([-_.].*)?", re.IGNORECASE)
        files = [entry for entry in entries if is_table(entry, modality) and pattern.fullmatch(entry.stem)]
        if modality.joins and not files:
            captions = re.compile(rf"captions[-_.]({'|'.join(names)})\d*", re.IGNORECASE)  # the names in COCO
            beside = sorted((folder / "annotations").glob("*.json"))
            files = [entry for entry in (*entries, *beside) if is_table(entry, modality) and captions.fullmatch(entry.stem)]
        if len(directories) > 1:
            raise SourceError(f"{folder} has several {split} folders: {', '.join(entry.name for entry in directories)}.")
        if directories or files:
            parts[split] = directories or files
    return parts


def split_of(source: Any, split: str) -> Any:
    """The split of a mapping of splits (``DatasetDict``, ``{"train": ..., "test": ...}``); other sources unchanged.

    Raises:
        SourceError: it has no such split.
    """
    parts = splits_in(source)
    if not parts:
        return source
    if split not in parts:
        raise SourceError(f"The {type(source).__name__} has no {split!r} split; it has {', '.join(source)}.")
    return source[parts[split]]


def splits_in(source: Any) -> dict[str, str]:
    """Split to its key, for a mapping whose keys are all names of splits; else empty."""
    if not isinstance(source, Mapping) or not source:
        return {}
    keys = {SPLIT_OF.get(str(key).lower(), ""): key for key in source}
    if "" in keys:  # a hub data set may have other parts beside a train split
        keys.pop("")
        if "train" not in keys or not all(hasattr(part, "features") for part in source.values()):
            return {}
    return {split: keys[split] for split in SPLIT_NAMES if split in keys}
