"""Load a source: from a source string or an object to rows."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup.data.rows import Rows
from selfsup.data.sources.array_files import ARRAY_SUFFIXES, read_arrays, splits_of_file
from selfsup.data.sources.columns.choose import FoundSource, as_rows
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.dataframes import arrow_table, categorical_columns
from selfsup.data.sources.file_groups import KEY
from selfsup.data.sources.folders import NAME_COLUMN, read_media_folder
from selfsup.data.sources.hub import content_fingerprint, load_from_hub, load_registered
from selfsup.data.sources.in_memory import is_table_in_memory, records, split_of, splits_in
from selfsup.data.sources.layout import SPLIT_NAMES, is_table, of_one_kind, parts_of, table_suffixes
from selfsup.data.sources.path_lists import is_path_list, read_path_list
from selfsup.data.sources.record_writer import write_records
from selfsup.data.sources.sidecars import read_sidecars
from selfsup.data.sources.tables.encodings import COMPRESSED
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.read import TABLE_SUFFIXES, read_tables
from selfsup.errors import ColumnError, SourceError
from selfsup.runtime.findings import Findings, listed_names, suffix_counts

if TYPE_CHECKING:
    from selfsup.registry.specs import DatasetSpec, ModalitySpec

_LISTING = re.compile(r"(captions|metadata)([-_.].*)?", re.IGNORECASE)
"""Names of tables that list the files beside them."""
_SAID = 3
"""Items that cannot be read and are named."""


def load_source(
    source: Any,
    *,
    modality: ModalitySpec,
    split: str = "train",
    columns: Mapping[str, str] | None = None,
    label: str | None = None,
    needs_label: bool = False,
    label_kind: LabelKind | None = None,
    unlabelled: Collection[str] = (),
    table: TableFormat | Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Rows:
    """The rows of one split of a source.

    Args:
        source: one of

            - the name of a registered data set (``cifar10``, ``cifar10:test``); where ``SELFSUP_DATA`` names a folder,
              ``<it>/<modality>/<name>/`` is taken first;
            - a table file (csv, tsv, json, jsonl, txt, also compressed: gz, bz2, xz; parquet, arrow, feather, xlsx) or a folder
              of them;
            - a tar archive of samples (webdataset), or a folder of them;
            - a folder of files of the modality, whose first-level folders are the classes; ``train``, ``test``, ... folders (or
              files of these names) are its splits;
            - a list of files, relative to its folder: a txt with a path and perhaps a label a line, a table with paths;
            - an ``.npy`` file of N rows, or an ``.npz`` file of arrays (``images``, ``labels``; ``x_train``, ``y_test``, ...);
            - ``hf://owner/name[/config][:split]``, the only form that uses the network;
            - a ``datasets.Dataset`` or ``IterableDataset``, or a table in memory (pandas, polars, Arrow);
            - an array or tensor [N, ...], a dict of columns, a data set of torch, a list or generator of rows
              (:func:`selfsup.data.sources.in_memory.records`); a ``DatasetDict`` or a dict of splits;
            - :class:`Rows`, which are given back.

            A name is taken as a registered one first; ``./name`` is the file or folder.
        modality: what kind of data is wanted.
        split: ``train``, ``validation`` or ``test``; one that the source names after a colon goes before.
        columns: role to column, where it cannot be found by type.
        label: the label column, where it cannot be found.
        needs_label: whether a source without labels is an error.
        label_kind: what the label column holds; None: it is found where labels are read (:class:`LabelReader`).
        unlabelled: labels that mean that a row has none, beside null, NaN and empty texts.
        table: separator, decimal mark, encoding, ... of a text table, where they cannot be found
            (:class:`~selfsup.data.TableFormat`).
        options: of the processor, or what its :meth:`~selfsup.data.Processor.source_options` gives: a modality that joins
            others chooses its columns by them.

    Raises:
        SourceError: there is nothing, or nothing usable, at the source.
        ConfigError: ``table`` says something that is of no use for this source.
        ColumnError: a column is missing, ambiguous or of the wrong type.
        MissingPluginError: a part is of a modality whose plugin is not installed.
    """
    if isinstance(source, Rows):
        if needs_label and source.label is None:
            raise ColumnError(f"{source.name} has no labels, and they are needed.")
        if label_kind is None and not unlabelled:
            return source
        kind, none = label_kind or source.label_kind, tuple(unlabelled) or source.unlabelled
        return replace(source, label_kind=kind, unlabelled=none, reader=None, whole=None)
    found = _find(source, modality, split, TableFormat.of(table))
    try:
        return as_rows(found, modality, columns, label, needs_label, label_kind, unlabelled, options or {})
    except ColumnError as error:
        if not found.findings.warnings:
            raise
        raise ColumnError(" ".join([str(error), *found.findings.warnings])) from error


def available_splits(source: Any, *, modality: ModalitySpec) -> tuple[str, ...]:
    """The splits that a source has, as far as that can be said without the network; ``("train",)`` where it has no parts."""
    if not isinstance(source, str | os.PathLike):
        return tuple(splits_in(source)) or ("train",)
    text = os.fspath(source)
    if text.startswith("hf://"):
        return ("train",)
    name, explicit = cut_split(text)
    if explicit:
        return (explicit,)
    local, spec = _by_name(name, modality) if isinstance(source, str) else (None, None)
    if local is None and spec is not None:
        return spec.splits
    path = local or Path(text).expanduser()
    if path.suffix.lower() in ARRAY_SUFFIXES and path.is_file():
        return splits_of_file(path) or ("train",)
    return tuple(parts_of(path, modality)) or ("train",) if path.is_dir() else ("train",)


def _find(source: Any, modality: ModalitySpec, split: str, form: TableFormat) -> FoundSource:
    if not isinstance(source, str | os.PathLike):
        form.refuse(f"a {type(source).__name__}")
        categories: tuple[str, ...] = ()
        if parts := splits_in(source):
            found = _find(split_of(source, split), modality, split, form)
            return replace(found, findings=Findings({"split": f"{split}, of {listed_names(parts)}"}).joined(found.findings))
        if not is_whole_source(source, modality):
            return _in_memory(source, split, modality)
        if not hasattr(source, "features"):
            categories = categorical_columns(source)
            source = _dataset_of(source)
        if len(source) == 0:
            raise SourceError("The data set holds no row.")
        return FoundSource(source, "the data set", split, content_fingerprint(source), categories=categories)
    text = os.fspath(source)
    if not text:
        raise SourceError("The data source is empty; give a data set name, a path or hf://owner/name.")
    if text.startswith("hf://"):
        form.refuse(text)
        dataset, part = load_from_hub(text, split)
        return FoundSource(dataset, text, part, content_fingerprint(dataset))
    name, explicit = cut_split(text)
    part = explicit or split
    if isinstance(source, str):
        local, spec = _by_name(name, modality)
        label = spec.label if spec else None
        if local is not None:
            return _at_path(local, name, part, modality, form, label=label)
        if spec is not None:
            form.refuse(f"the data set {name}")
            dataset = load_registered(spec, part)
            return FoundSource(dataset, name, part, content_fingerprint(dataset), label=label)
    path = Path(name).expanduser()
    if not path.exists():
        raise SourceError(_nothing_there(name, modality))
    return _at_path(path, name, part, modality, form)


def is_whole_source(source: Any, modality: ModalitySpec) -> bool:
    """Whether an object is a ``datasets.Dataset``, or a table that Arrow takes as it is."""
    of_datasets = hasattr(source, "features") and hasattr(source, "select_columns") and hasattr(source, "__len__")
    return of_datasets or is_table_in_memory(source, modality)


def _in_memory(source: Any, split: str, modality: ModalitySpec, name: str = "") -> FoundSource:
    """Rows of an array, a list, a mapping of columns, a data set of torch, a generator."""
    found = records(source, modality)
    dataset, fingerprint = write_records(found, modality)
    findings = Findings({"source": found.described})
    for text in found.unreadable[:_SAID]:
        findings.warn(text)
    if len(found.unreadable) > _SAID:
        findings.warn(f"{len(found.unreadable) - _SAID} more items cannot be read.")
    return FoundSource(dataset, name or found.name, split, fingerprint, findings=findings)


def _dataset_of(frame: Any) -> Any:
    """A table in memory as a ``datasets.Dataset``."""
    import datasets

    try:
        return datasets.Dataset(arrow_table(frame))
    except (ValueError, NotImplementedError) as error:
        raise SourceError(f"The {type(frame).__name__} cannot be used: {error}") from error


def cut_split(text: str) -> tuple[str, str]:
    """``cifar10:test`` as ``("cifar10", "test")``; a path that exists as it stands has no split behind a colon."""
    match = re.fullmatch(r"(.+):([A-Za-z_]+)", text)
    if match is None or Path(text).expanduser().exists():
        return text, ""
    for split, names in SPLIT_NAMES.items():
        if match[2] in names:
            return match[1], split
    return text, ""


def _by_name(name: str, modality: ModalitySpec) -> tuple[Path | None, DatasetSpec | None]:
    """The folder below ``SELFSUP_DATA`` and the registered spec that a name stands for, each None if it does not exist."""
    from selfsup.registry import registry

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][A-Za-z0-9._-]*)?", name):
        return None, None
    spec: DatasetSpec | None = registry().datasets.get(name)
    if spec is not None and spec.modality != modality.id:
        raise SourceError(f"Data set {name!r} is of modality {spec.modality}, and {modality.id} is wanted.")
    base = os.environ.get("SELFSUP_DATA")
    folder = Path(base).expanduser() / modality.id / name if base else None
    return (folder if folder is not None and folder.is_dir() else None), spec


def _at_path(
    path: Path, name: str, split: str, modality: ModalitySpec, form: TableFormat, *, label: str | None = None
) -> FoundSource:
    """A file, or a folder of media files or tables."""
    if path.is_file():
        if path.suffix.lower() in ARRAY_SUFFIXES:
            form.refuse(f"the arrays of {path}")
            arrays = read_arrays(path)
            if isinstance(arrays, dict) and not splits_in(arrays) and split != "train":
                raise SourceError(f"{name} has no {split!r} split: none of its arrays ({', '.join(arrays)}) names one.")
            return _in_memory(split_of(arrays, split), split, modality, name)
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
        about.add("files", f"{len(taken)} taken ({listed_names(file.name for file in taken)})")
    if others:
        about.add("files", f"passed over beside the tables: {listed_names(file.name for file in others)}")
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
    """The modalities whose files are meant: this one, or all that can be a part of its rows."""
    from selfsup.registry import registry

    return tuple(spec for spec in registry().modalities.values() if not spec.joins) if modality.joins else (modality,)


def _in_joined_folder(
    folder: Path, name: str, split: str, modality: ModalitySpec, form: TableFormat, label: str | None
) -> FoundSource:
    """A folder for rows that join parts: tables that name files, else files that are called alike."""
    tables = sorted(file for file in folder.iterdir() if is_table(file, modality))
    listing = [file for file in tables if _LISTING.fullmatch(file.stem)]
    if tables:
        read = _in_tables(listing or tables, name, split, modality, form, label, root=folder)
        return replace(read, beside=folder)
    form.refuse(f"the files of {folder}", but=("encoding",))
    found = read_sidecars(folder, modalities_of(modality), form.encoding)
    if found is None:
        there = Counter(file.suffix.lower() for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
        held = f" It holds {suffix_counts(there)}." if there else " It is empty."
        raise SourceError(
            f"{folder} holds nothing usable for {modality.id}: no table, and no pictures, recordings or videos with texts "
            f"beside them (a.jpg and a.txt).{held}"
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
    there = Counter(file.suffix.lower() for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    held = f" It holds {suffix_counts(there)}." if there else " It is empty."
    raise SourceError(f"{folder} holds nothing usable for {modality.id}: no file that ends in {wanted}{still}.{held}")


def _media_role(modality: ModalitySpec) -> tuple[str, tuple[str, ...]]:
    """The role that files of the modality's suffixes play: its first one."""
    return next(iter(modality.columns), ""), modality.suffixes if modality.columns else ()


def _nothing_there(name: str, modality: ModalitySpec) -> str:
    from selfsup.registry import registry

    known = sorted(spec.id for spec in registry().datasets.values() if spec.modality == modality.id)
    close = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    listed = f" Registered for {modality.id}: {', '.join(known)}." if known else ""
    return (
        f"{name!r} is no file, no folder and no registered data set.{guess}{listed} A data set of the hub is hf://owner/name."
    )
