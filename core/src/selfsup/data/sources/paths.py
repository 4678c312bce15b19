"""Read a source that is a file or a folder: tables, media files, archives, lists of files, arrays."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selfsup.data.sources.array_files import ARRAY_SUFFIXES, read_arrays
from selfsup.data.sources.columns.choose import FoundSource
from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.file_groups import KEY
from selfsup.data.sources.folders import NAME_COLUMN, read_media_folder
from selfsup.data.sources.layout import is_table, of_one_kind, parts_of, split_of, splits_in, table_suffixes
from selfsup.data.sources.path_lists import is_path_list, read_path_list
from selfsup.data.sources.record_writer import source_in_memory
from selfsup.data.sources.sidecars import read_sidecars
from selfsup.data.sources.tables.encodings import COMPRESSED
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.read import TABLE_SUFFIXES, read_tables
from selfsup.errors import SourceError
from selfsup.runtime.findings import Findings, listed_names, suffix_counts

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

_LISTING = re.compile(r"(captions|metadata)([-_.].*)?", re.IGNORECASE)
"""Names of tables that list files in their folder."""


def source_at_path(
    path: Path, name: str, split: str, modality: ModalitySpec, form: TableFormat, *, label: str | None = None
) -> FoundSource:
    """Read a file, or a folder of media files or tables."""
    if path.is_file():
        if path.suffix.lower() in ARRAY_SUFFIXES:
            form.refuse(f"the arrays of {path}")
            arrays = read_arrays(path)
            if isinstance(arrays, dict) and not splits_in(arrays) and split != "train":
                raise SourceError(f"{name} has no {split!r} split: none of its arrays ({', '.join(arrays)}) names one.")
            return source_in_memory(split_of(arrays, split), split, modality, name)
        if is_path_list(path, modality):
            form.refuse(f"the list {path}", but=("encoding",))
            dataset, fingerprint = read_path_list(path, modality, form.encoding)
            return FoundSource(dataset, name, split, fingerprint, label=label, root=path.parent)
        if not is_table(path, modality):
            allowed = ", ".join(suffix for suffix in table_suffixes(modality) if suffix.count(".") == 1)
            raise SourceError(
                f"{path} is a single {path.suffix or 'nameless'} file. Give a folder, or a table ({allowed}; texts also "
                f"packed: {', '.join(COMPRESSED)})."
            )
        return _in_tables([path], name, split, modality, form, label, root=path.parent)
    parts = parts_of(path, modality)
    if parts and split not in parts:
        raise SourceError(f"{name} has no {split!r} split; it has {', '.join(parts)}.")
    if not parts and split != "train":
        raise SourceError(f"{name} has no {split!r} split: it is not split into train and test folders or files.")
    places = parts[split] if parts else [path]
    in_folder = places[0].is_dir()
    found = (
        _in_folder(places[0], name, split, modality, form, label)
        if in_folder
        else _in_tables(places, name, split, modality, form, label, root=path)
    )
    if len(parts) < 2:
        return found
    of_splits = Findings({"split": f"{split}, of {listed_names(parts)}"})
    return replace(found, findings=of_splits.joined(found.findings))


def _in_tables(
    files: list[Path], name: str, split: str, modality: ModalitySpec, form: TableFormat, label: str | None, *, root: Path
) -> FoundSource:
    taken, others = of_one_kind(files)
    specs = modalities_of(modality)
    cells = not modality.columns and not modality.joins
    read = read_tables(taken, form, cells=cells, modalities=specs, joined=modality.joins)
    about = Findings()
    if len(taken) > 1:
        about.add("files", f"{len(taken)} used ({listed_names(file.name for file in taken)})")
    if others:
        about.add("files", f"skipped beside the tables: {listed_names(file.name for file in others)}")
    return FoundSource(
        read.dataset,
        name,
        split,
        read.fingerprint,
        label=label,
        root=root,
        findings=about.joined(read.findings),
        categories=read.categories,
    )


def modalities_of(modality: ModalitySpec) -> tuple[ModalitySpec, ...]:
    """The modalities whose files count: this one, or all that can be a part of its rows."""
    from selfsup.registry import registry

    return tuple(spec for spec in registry().modalities.values() if not spec.joins) if modality.joins else (modality,)


def _in_joined_folder(
    folder: Path, name: str, split: str, modality: ModalitySpec, form: TableFormat, label: str | None
) -> FoundSource:
    """Read a folder for rows that join parts: tables that name files, else files with the same stem."""
    tables = sorted(file for file in folder.iterdir() if is_table(file, modality))
    listing = [file for file in tables if _LISTING.fullmatch(file.stem)]
    if tables:
        read = _in_tables(listing or tables, name, split, modality, form, label, root=folder)
        return replace(read, beside=folder)
    form.refuse(f"the files of {folder}", but=("encoding",))
    found = read_sidecars(folder, modalities_of(modality), form.encoding)
    if found is None:
        raise SourceError(
            f"{folder} holds nothing usable for {modality.id}: no table, and no pictures, recordings or videos with texts "
            f"beside them (a.jpg and a.txt). {_held(folder)}"
        )
    dataset, fingerprint, findings = found
    return FoundSource(dataset, name, split, fingerprint, root=folder, findings=findings, named_by=KEY)


def _in_folder(
    folder: Path, name: str, split: str, modality: ModalitySpec, form: TableFormat, label: str | None
) -> FoundSource:
    if modality.joins:
        return _in_joined_folder(folder, name, split, modality, form, label)
    role, suffixes = _media_role(modality)
    kind = modality.columns.get(role, "").lower()
    top_tables = sorted(file for file in folder.iterdir() if is_table(file, modality))
    media_only = tuple(suffix for suffix in suffixes if suffix not in TABLE_SUFFIXES or not top_tables)
    frames = modality.frame_suffixes
    as_text = kind not in MEDIA
    media = (
        read_media_folder(folder, role, media_only, as_text=as_text, frame_suffixes=frames, encoding=form.encoding)
        if media_only
        else None
    )
    if media is not None:
        form.refuse(f"the files of {folder}", but=("encoding",) if as_text else ())
        dataset, fingerprint, outside, findings = media
        named_by = NAME_COLUMN if as_text else ""
        tables = tuple(map(str, top_tables))
        return FoundSource(
            dataset, name, split, fingerprint, outside, root=folder, findings=findings, named_by=named_by, tables=tables
        )
    if top_tables:
        return _in_tables(top_tables, name, split, modality, form, label, root=folder)
    wanted = ", ".join((*suffixes, *(suffix for suffix in table_suffixes(modality) if suffix not in suffixes)))
    still = f", and no folder of frames ({', '.join(frames)})" if frames else ""
    raise SourceError(f"{folder} holds nothing usable for {modality.id}: no file that ends in {wanted}{still}. {_held(folder)}")


def _held(folder: Path) -> str:
    """Which files a folder holds, by suffix, as a sentence."""
    there = Counter(file.suffix.lower() for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    return f"It holds {suffix_counts(there)}." if there else "It is empty."


def _media_role(modality: ModalitySpec) -> tuple[str, tuple[str, ...]]:
    """The role of files with the modality's suffixes, its first one, and these suffixes."""
    return next(iter(modality.columns), ""), modality.suffixes if modality.columns else ()
