"""Load rows from a source: a name, a path, a hub data set, or an object in memory."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup.data.rows import Rows
from selfsup.data.sources.array_files import ARRAY_SUFFIXES, splits_of_file
from selfsup.data.sources.columns.choose import FoundSource, as_rows
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.data.sources.dataframes import arrow_table, categorical_columns, is_table_in_memory
from selfsup.data.sources.hub import content_fingerprint, load_from_hub, load_registered
from selfsup.data.sources.layout import SPLIT_OF, parts_of, split_of, splits_in
from selfsup.data.sources.paths import source_at_path
from selfsup.data.sources.record_writer import source_in_memory
from selfsup.data.sources.tables.format import TableFormat
from selfsup.errors import ColumnError, SourceError
from selfsup.runtime.findings import Findings, listed_names

if TYPE_CHECKING:
    from selfsup.registry.specs import DatasetSpec, ModalitySpec


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

            - the name of a registered data set (``cifar10``, ``cifar10:test``); if ``SELFSUP_DATA`` names a folder,
              ``<it>/<modality>/<name>/`` has priority;
            - a table file (csv, tsv, json, jsonl, txt, also compressed: gz, bz2, xz; parquet, arrow, feather, xlsx) or a folder
              of them;
            - a tar archive of samples (webdataset), or a folder of them;
            - a folder of files of the modality, whose first-level folders are the classes; ``train``, ``test``, ... folders (or
              files with these names) are its splits;
            - a list of files, relative to its folder: a txt with a path and an optional label per line, a table with paths;
            - an ``.npy`` file of N rows, or an ``.npz`` file of arrays (``images``, ``labels``; ``x_train``, ``y_test``, ...);
            - ``hf://owner/name[/config][:split]``, the only form that uses the network;
            - a ``datasets.Dataset`` or ``IterableDataset``, or a table in memory (pandas, polars, Arrow);
            - an array or tensor [N, ...], a dict of columns, a torch dataset, a list or generator of rows
              (:func:`selfsup.data.sources.in_memory.records`); a ``DatasetDict`` or a dict of splits;
            - :class:`Rows`, which are returned as they are.

            A registered name has priority; ``./name`` is the file or folder.
        modality: the kind of data.
        split: ``train``, ``validation`` or ``test``; a split after a colon in the source has priority.
        columns: role to column, if the type does not tell.
        label: the label column; None: it is detected.
        needs_label: whether a source without labels is an error.
        label_kind: what the label column holds; None: it is detected when labels are read (:class:`LabelReader`).
        unlabelled: labels that mean "no label", in addition to null, NaN and empty texts.
        table: separator, decimal mark, encoding, ... of a text table (:class:`~selfsup.data.TableFormat`), if not detected.
        options: of the processor, or its :meth:`~selfsup.data.Processor.source_options`: a modality that joins others chooses
            its columns by them.

    Raises:
        SourceError: there is nothing, or nothing usable, at the source.
        ConfigError: an option in ``table`` has no effect for this source.
        ColumnError: a column is missing, ambiguous or of the wrong type.
        MissingPluginError: a part needs a modality whose plugin is not installed.
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
    """The splits of a source, as far as known without the network; ``("train",)`` if it is not split."""
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
            return source_in_memory(source, split, modality)
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
            return source_at_path(local, name, part, modality, form, label=label)
        if spec is not None:
            form.refuse(f"the data set {name}")
            dataset = load_registered(spec, part)
            return FoundSource(dataset, name, part, content_fingerprint(dataset), label=label)
    path = Path(name).expanduser()
    if not path.exists():
        raise SourceError(_nothing_there(name, modality))
    return source_at_path(path, name, part, modality, form)


def is_whole_source(source: Any, modality: ModalitySpec) -> bool:
    """Whether an object is a ``datasets.Dataset``, or a table that Arrow can read."""
    of_datasets = hasattr(source, "features") and hasattr(source, "select_columns") and hasattr(source, "__len__")
    return of_datasets or is_table_in_memory(source, modality)


def _dataset_of(frame: Any) -> Any:
    """A table in memory as a ``datasets.Dataset``."""
    import datasets

    try:
        return datasets.Dataset(arrow_table(frame))
    except (ValueError, NotImplementedError) as error:
        raise SourceError(f"The {type(frame).__name__} cannot be used: {error}") from error


def cut_split(text: str) -> tuple[str, str]:
    """``cifar10:test`` as ``("cifar10", "test")``; a path that exists is not cut."""
    match = re.fullmatch(r"(.+):([A-Za-z_]+)", text)
    if match is None or Path(text).expanduser().exists():
        return text, ""
    split = SPLIT_OF.get(match[2])
    return (match[1], split) if split else (text, "")


def _by_name(name: str, modality: ModalitySpec) -> tuple[Path | None, DatasetSpec | None]:
    """The folder below ``SELFSUP_DATA`` and the registered spec of a name; None if it does not exist."""
    from selfsup.registry import registry

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][A-Za-z0-9._-]*)?", name):
        return None, None
    spec: DatasetSpec | None = registry().datasets.get(name)
    if spec is not None and spec.modality != modality.id:
        raise SourceError(f"Data set {name!r} is of modality {spec.modality}, not {modality.id}.")
    base = os.environ.get("SELFSUP_DATA")
    folder = Path(base).expanduser() / modality.id / name if base else None
    return (folder if folder is not None and folder.is_dir() else None), spec


def _nothing_there(name: str, modality: ModalitySpec) -> str:
    from selfsup.registry import registry

    known = sorted(spec.id for spec in registry().datasets.values() if spec.modality == modality.id)
    close = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    listed = f" Registered for {modality.id}: {', '.join(known)}." if known else ""
    return (
        f"{name!r} is no file, no folder and no registered data set.{guess}{listed} A data set of the hub is hf://owner/name."
    )
