"""From a source string to a stream of rows, and whether a source should be one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.data.sources.columns.choose import FoundSource, as_rows
from selfsup.data.sources.file_groups import FileGroups
from selfsup.data.sources.hub import hub_name
from selfsup.data.sources.load import cut_split, load_source
from selfsup.data.sources.paths import modalities_of
from selfsup.data.sources.streams.files import (
    JSON,
    MAGIC,
    encoding_of,
    expanded,
    files_of,
    kind_of,
    media_column,
    size_of,
)
from selfsup.data.sources.streams.remote_media import media_files, media_fingerprint, media_sample, media_shards
from selfsup.data.sources.streams.row_stream import RowStream, Shard
from selfsup.data.sources.streams.samples import Taken, sample_of_lines, sample_of_parquet, sample_of_tars, take
from selfsup.data.sources.streams.shards import (
    DatasetShard,
    LineShard,
    ParquetShard,
    TarShard,
    shards_of,
)
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.read import quiet_datasets
from selfsup.errors import SourceError
from selfsup.runtime.findings import Findings, listed_names

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec


@dataclass(frozen=True)
class Choice:
    """What is known of a source without opening it."""

    remote: bool
    """Whether it can only be streamed, or be fetched whole first."""
    size: int | None
    """Bytes of its files on this machine; None where that is not known."""
    pattern: bool = False
    """Whether it is a pattern of files on this machine."""


def look_at(source: Any, *, sized: bool = True) -> Choice:
    """Where a source lies, and, if ``sized``, how large it is; files are listed for that, and not opened."""
    if not isinstance(source, str | os.PathLike):
        return Choice(False, None)
    text = os.fspath(source)
    if text.startswith("hf://"):
        return Choice(False, None)
    if "://" in text:
        return Choice(True, None)
    name, _ = cut_split(text)
    if MAGIC.search(name) and not Path(name).expanduser().exists():
        return Choice(True, sum(Path(path).stat().st_size for path in expanded(name)) if sized else None, pattern=True)
    path = Path(name).expanduser()
    if not sized:
        return Choice(False, None)
    if path.is_file():
        return Choice(False, path.stat().st_size)
    return Choice(False, size_of(path) if path.is_dir() else None)


def open_stream(
    source: Any,
    *,
    modality: ModalitySpec,
    sample_rows: int,
    split: str = "train",
    columns: Mapping[str, str] | None = None,
    table: TableFormat | None = None,
    options: Mapping[str, Any] | None = None,
    label: str | None = None,
    listed: Callable[[Callable[[], Any]], Any] | None = None,
) -> RowStream:
    """The rows of a source, to be read one after the other.

    Args:
        source: tar archives of samples, Parquet files, files of JSON or text lines (also compressed), each as a file, a folder,
            a pattern with ``*`` or ``{000..127}``, on this machine or by a URL that fsspec knows (``s3://``), where folders of
            single images, recordings or videos are read, too; ``hf://owner/name``; a ``datasets.IterableDataset``. All else is
            listed or converted as :func:`~selfsup.data.load_source` does, and its
            files are decoded on the way.
        modality: what kind of data is wanted.
        sample_rows: most rows of the sample.
        split: ``train``, ``validation`` or ``test``; one that the source names after a colon goes before.
        columns: role to column, where it cannot be found by type.
        table: encoding of texts.
        options: of the processor; a modality that joins others chooses its columns by them.
        label: the label column, which is left out.
        listed: calls what lists the files at a URL and gives its result: of several processes, one lists for all. None: each
            process lists them.

    Raises:
        SourceError: there is nothing at the source, or nothing that can be streamed.
        ColumnError: a column is missing, ambiguous or of the wrong type.
    """
    form = TableFormat.of(table)

    def rows_of(found: FoundSource) -> Any:
        return as_rows(found, modality, columns, label, False, None, (), options or {})

    if isinstance(source, str | os.PathLike) and not os.fspath(source).startswith("hf://"):
        text = os.fspath(source)
        listed = listed if listed is not None and "://" in text else _called
        if "://" in text and (media := listed(partial(media_files, text, modality, split))):
            form.refuse(text)
            return _of_media(text, media, modality, sample_rows, split, rows_of)
        urls, fingerprint, name, part, root = listed(partial(files_of, text, modality, split))
        if urls:
            return _of_files(urls, fingerprint, name, part, root, modality, form, sample_rows, rows_of)
    elif streamed := _iterable(source, split):
        return _of_dataset(*streamed, modality, sample_rows, rows_of)
    rows = load_source(source, modality=modality, split=split, columns=columns, label=label, table=table, options=options)
    rows = rows.without_labels()
    places = np.unique(np.linspace(0, len(rows) - 1, min(sample_rows, len(rows))).astype(np.int64))
    whole = len(places) == len(rows)
    sample = rows if whole else rows.select(places)
    described = f"all {len(rows)} rows" if whole else f"{len(places)} rows, spread over all {len(rows)}"
    return RowStream(sample, shards_of(rows), rows.fingerprint, ended=whole, described=described)


def _called(work: Callable[[], Any]) -> Any:
    return work()


def _of_files(
    urls: Sequence[str],
    fingerprint: str,
    name: str,
    split: str,
    root: Path | None,
    modality: ModalitySpec,
    form: TableFormat,
    most: int,
    rows_of: Callable[[FoundSource], Any],
) -> RowStream:
    kinds = sorted({kind_of(url) for url in urls})
    if len(kinds) > 1:
        raise SourceError(f"{name} holds files of several kinds ({', '.join(kinds)}). Name those that are meant.")
    kind = kinds[0]
    form.refuse(name, but=() if kind == ".parquet" else ("encoding",))
    findings = Findings(
        {"files": f"{len(urls)} read row by row ({listed_names([PurePosixPath(url).name for url in urls], 3)})"}
    )
    shards: list[Shard] = []
    if kind == ".tar":
        groups = FileGroups(modalities_of(modality), lines=modality.joins, encoding=form.encoding)
        dataset, taken = sample_of_tars(urls, groups, most)
        groups.tell(of_sample := Findings())
        findings.add("files", f"in the sample: {of_sample.facts['files']}")
    elif kind == ".parquet":
        dataset, taken = sample_of_parquet(urls, most)
    else:
        encoding = encoding_of(urls[0], form.encoding)
        as_json = kind in JSON
        lines = [LineShard(url, as_json, encoding) for url in urls]
        dataset, taken = sample_of_lines(lines, modality, most, as_json=as_json)
        shards = [*lines]
    sample = rows_of(FoundSource(dataset, name, split, fingerprint, root=root, findings=findings)).without_labels()
    used = tuple(dict.fromkeys(sample.columns.values()))
    if kind == ".parquet":
        shards = [ParquetShard(url, used) for url in urls]
    elif kind == ".tar":
        shards = [TarShard(url, groups, used) for url in urls]
    return _stream(sample, shards, taken, remote="://" in urls[0])


def _of_media(
    name: str,
    marks: Mapping[str, Any],
    modality: ModalitySpec,
    most: int,
    split: str,
    rows_of: Callable[[FoundSource], Any],
) -> RowStream:
    shards = media_shards(name, media_column(modality), list(marks))
    dataset, described = media_sample(shards, modality, most)
    findings = Findings({"files": f"{len(marks)} read one by one"})
    sample = rows_of(FoundSource(dataset, name, split, media_fingerprint(marks), findings=findings)).without_labels()
    return RowStream(sample, shards, sample.fingerprint, remote=True, ended=len(sample) == len(marks), described=described)


def _stream(sample: Any, shards: Sequence[Shard], taken: Taken, *, remote: bool) -> RowStream:
    described = f"all {len(sample)} rows" if taken.ended else f"the first {len(sample)} rows"
    return RowStream(sample, shards, sample.fingerprint, remote=remote, ended=taken.ended, described=described)


def _of_dataset(
    dataset: Any, name: str, split: str, modality: ModalitySpec, most: int, rows_of: Callable[[FoundSource], Any]
) -> RowStream:
    import datasets

    if dataset.features is not None:  # nobody knows those of a generator, or of what was mapped
        dataset = dataset.decode(False)
    whole = DatasetShard(name, dataset.take(most + 1), _media(dataset.features or {}))
    taken = take(whole.records(0), most, name)
    found = datasets.Dataset.from_list(taken.records, features=dataset.features)
    media = _media(found.features)
    key = json.dumps([name, split, dataset.num_shards, repr(dataset.features)])
    fingerprint = hashlib.sha256(key.encode() + found.data.table.slice(0, 16).to_string().encode()).hexdigest()
    sample = rows_of(FoundSource(found, name, split, fingerprint)).without_labels()
    count = dataset.num_shards
    shards = [DatasetShard(f"{name}, shard {index}", dataset.shard(count, index), media) for index in range(count)]
    return _stream(sample, shards, taken, remote=name.startswith("hf://"))


def _media(features: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of files to their features."""
    return {name: feature for name, feature in features.items() if type(feature).__name__ in ("Image", "Audio", "Video")}


def _iterable(source: Any, split: str) -> tuple[Any, str, str] | None:
    """A ``datasets.IterableDataset`` with its name and split; None where the source is none."""
    import datasets

    if isinstance(source, datasets.IterableDataset):
        return source, "the data set", split
    if not isinstance(source, str) or not source.startswith("hf://"):
        return None
    name, config, part = hub_name(source, split)
    with quiet_datasets():
        try:
            return datasets.load_dataset(name, config, split=part, streaming=True), source, part
        except Exception as error:  # the hub's client has no common base for what it raises
            raise SourceError(f"{source} cannot be streamed: {type(error).__name__}: {error}") from error
