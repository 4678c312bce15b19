"""From a source string to a stream of rows, and whether a source should be one."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.data.sources.columns.choose import FoundSource, as_rows
from selfsup.data.sources.file_groups import FileGroups
from selfsup.data.sources.hub import hub_name
from selfsup.data.sources.layout import SPLIT_NAMES, of_one_kind, parts_of
from selfsup.data.sources.load import cut_split, load_source
from selfsup.data.sources.paths import modalities_of
from selfsup.data.sources.streams.row_stream import RowStream, Shard
from selfsup.data.sources.streams.shards import (
    DatasetShard,
    LineShard,
    ParquetShard,
    TarShard,
    open_file,
    shards_of,
    within,
)
from selfsup.data.sources.tables.encodings import find_encoding
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.read import quiet_datasets, read_tables
from selfsup.data.sources.tars import TAR_SUFFIXES
from selfsup.errors import SourceError
from selfsup.runtime.findings import Findings, listed_names

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

SAMPLE_BYTES = 256 << 20
"""Most bytes of files and texts in the sample of a stream."""
_PACKED = (".gz", ".bz2", ".xz")
_JSON = (".jsonl", ".ndjson")
_LINES = (*_JSON, ".txt")
_STREAMED = (*TAR_SUFFIXES, ".parquet", *_LINES, *(f"{line}{packed}" for line in _LINES for packed in _PACKED))
_MAGIC = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BLOCK = 1 << 20


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
    if _MAGIC.search(name) and not Path(name).expanduser().exists():
        return Choice(True, sum(Path(path).stat().st_size for path in _expanded(name)) if sized else None, pattern=True)
    path = Path(name).expanduser()
    if not sized:
        return Choice(False, None)
    if path.is_file():
        return Choice(False, path.stat().st_size)
    return Choice(False, _size_of(path) if path.is_dir() else None)


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
) -> RowStream:
    """The rows of a source, to be read one after the other.

    Args:
        source: tar archives of samples, Parquet files, files of JSON or text lines (also compressed), each as a file, a folder,
            a pattern with ``*`` or ``{000..127}``, on this machine or by a URL that fsspec knows (``s3://``); ``hf://owner/name``;
            a ``datasets.IterableDataset``. All else is listed or converted as :func:`~selfsup.data.load_source` does, and its
            files are decoded on the way.
        modality: what kind of data is wanted.
        sample_rows: most rows of the sample.
        split: ``train``, ``validation`` or ``test``; one that the source names after a colon goes before.
        columns: role to column, where it cannot be found by type.
        table: encoding of texts.
        options: of the processor; a modality that joins others chooses its columns by them.
        label: the label column, which is left out.

    Raises:
        SourceError: there is nothing at the source, or nothing that can be streamed.
        ColumnError: a column is missing, ambiguous or of the wrong type.
    """
    form = TableFormat.of(table)

    def rows_of(found: FoundSource) -> Any:
        return as_rows(found, modality, columns, label, False, None, (), options or {})

    if isinstance(source, str | os.PathLike) and not os.fspath(source).startswith("hf://"):
        text = os.fspath(source)
        urls, name, part, root = _files(text, modality, split)
        if urls:
            return _of_files(urls, name, part, root, modality, form, sample_rows, rows_of)
    elif streamed := _iterable(source, split):
        return _of_dataset(*streamed, modality, sample_rows, rows_of)
    rows = load_source(source, modality=modality, split=split, columns=columns, label=label, table=table, options=options)
    rows = rows.without_labels()
    places = np.unique(np.linspace(0, len(rows) - 1, min(sample_rows, len(rows))).astype(np.int64))
    whole = len(places) == len(rows)
    sample = rows if whole else rows.select(places)
    described = f"all {len(rows)} rows" if whole else f"{len(places)} rows, spread over all {len(rows)}"
    return RowStream(sample, shards_of(rows), rows.fingerprint, ended=whole, described=described)


def _of_files(
    urls: Sequence[str],
    name: str,
    split: str,
    root: Path | None,
    modality: ModalitySpec,
    form: TableFormat,
    most: int,
    rows_of: Callable[[FoundSource], Any],
) -> RowStream:
    kinds = sorted({_kind(url) for url in urls})
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
        dataset, taken = _sample_of_tars(urls, groups, most)
        groups.tell(of_sample := Findings())
        findings.add("files", f"in the sample: {of_sample.facts['files']}")
    elif kind == ".parquet":
        dataset, taken = _sample_of_parquet(urls, most)
    else:
        encoding = _encoding(urls[0], form.encoding)
        as_json = kind in _JSON
        lines = [LineShard(url, as_json, encoding) for url in urls]
        dataset, taken = _sample_of_lines(lines, modality, most, as_json=as_json)
        shards = [*lines]
    fingerprint = _fingerprint(urls)
    sample = rows_of(FoundSource(dataset, name, split, fingerprint, root=root, findings=findings)).without_labels()
    used = tuple(dict.fromkeys(sample.columns.values()))
    if kind == ".parquet":
        shards = [ParquetShard(url, used) for url in urls]
    elif kind == ".tar":
        shards = [TarShard(url, groups, used) for url in urls]
    return _stream(sample, shards, taken, remote="://" in urls[0])


def _stream(sample: Any, shards: Sequence[Shard], taken: _Taken, *, remote: bool) -> RowStream:
    described = f"all {len(sample)} rows" if taken.ended else f"the first {len(sample)} rows"
    return RowStream(sample, shards, sample.fingerprint, remote=remote, ended=taken.ended, described=described)


@dataclass
class _Taken:
    """Records for the sample, and whether these are all."""

    records: list[Mapping[str, Any]]
    ended: bool


def _take(records: Iterator[Mapping[str, Any]], most: int, name: str) -> _Taken:
    taken = list(within(records, most, SAMPLE_BYTES))
    if not taken:
        raise SourceError(f"{name} holds no row.")
    return _Taken(taken, next(records, None) is None)


def _sample_of_tars(urls: Sequence[str], groups: FileGroups, most: int) -> tuple[Any, _Taken]:
    import tarfile

    import datasets
    import pyarrow as pa

    from selfsup.data.sources.tars import samples_of

    def records() -> Iterator[Mapping[str, Any]]:
        for url in urls:
            with open_file(url) as file, tarfile.open(fileobj=file) as archive:
                for key, group in samples_of(archive):
                    groups.learn(group)
                    yield groups.record(key, group)

    taken = _take(records(), most, urls[0])
    schema = groups.features().arrow_schema
    arrays = [
        pa.array([groups.cast(name, record.get(name)) for record in taken.records], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return datasets.Dataset(pa.Table.from_arrays(arrays, schema=schema)), taken


def _sample_of_parquet(urls: Sequence[str], most: int) -> tuple[Any, _Taken]:
    import datasets
    import pyarrow as pa
    from datasets.table import table_cast

    batches = (batch for url in urls for batch in ParquetShard(url).batches(0) if len(batch))
    taken, rows, size = [], 0, 0
    for batch in batches:
        taken.append(batch.slice(0, most - rows))
        rows, size = rows + len(taken[-1]), size + taken[-1].nbytes
        if rows == most or size > SAMPLE_BYTES:
            ended = len(taken[-1]) == len(batch) and next(batches, None) is None
            break
    else:
        ended = True
    if not taken:
        raise SourceError(f"{urls[0]} holds no row.")
    schema = datasets.Features.from_arrow_schema(taken[0].schema).arrow_schema
    return datasets.Dataset(table_cast(pa.Table.from_batches(taken), schema)), _Taken([], ended)


def _sample_of_lines(shards: Sequence[LineShard], modality: ModalitySpec, most: int, *, as_json: bool) -> tuple[Any, _Taken]:
    """Written down as a file of its own, and read as a whole file is: so that types of columns are found alike."""
    lines = itertools.chain.from_iterable(shard.lines() for shard in shards)
    taken = _take(({"text": line} for line in lines), most, shards[0].name)
    first = taken.records[0]["text"].lstrip()
    if as_json and not first.startswith("{"):
        raise SourceError(
            f"{shards[0].name} is no file of JSON lines: its first line begins with {first[:20]!r}, and not with {{. Write "
            "each row on a line of its own, or leave out --stream."
        )
    with tempfile.TemporaryDirectory(prefix="selfsup-") as folder:
        file = Path(folder) / ("rows.jsonl" if as_json else "rows.txt")
        file.write_text("\n".join(record["text"] for record in taken.records) + "\n", encoding="utf-8")
        return read_tables([file], modalities=modalities_of(modality)).dataset, taken


def _of_dataset(
    dataset: Any, name: str, split: str, modality: ModalitySpec, most: int, rows_of: Callable[[FoundSource], Any]
) -> RowStream:
    import datasets

    if dataset.features is not None:  # nobody knows those of a generator, or of what was mapped
        dataset = dataset.decode(False)
    whole = DatasetShard(name, dataset.take(most + 1), _media(dataset.features or {}))
    taken = _take(whole.records(0), most, name)
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


def _files(text: str, modality: ModalitySpec, split: str) -> tuple[list[str], str, str, Path | None]:
    """The files that can be read row by row, what the user calls them, the split, and where relative paths start."""
    if "://" in text:
        return _remote_files(text, split), text, split, None
    name, explicit = cut_split(text)
    part = explicit or split
    path = Path(name).expanduser()
    if not path.exists() and _MAGIC.search(name):
        found = _expanded(name)
        if not found:
            raise SourceError(f"No file fits {name}.")
        _check_kinds(found, name)
        return found, name, part, Path(found[0]).parent
    if path.is_file():
        listed = _kind(path.name) == ".txt" and "string" not in modality.columns.values()  # a list of files
        return ([str(path)] if _kind(path.name) and not listed else []), name, part, path.parent
    if not path.is_dir():
        return [], name, part, None
    parts = parts_of(path, modality)
    if parts and part not in parts:
        raise SourceError(f"{name} has no {part!r} split; it has {', '.join(parts)}.")
    places = parts.get(part, [path])
    files = sorted(places[0].iterdir()) if places[0].is_dir() else places
    there = [file for file in files if file.is_file() and not file.name.startswith(".")]
    media = modality.suffixes if modality.columns else ()
    kinds = [file for file in there if _kind(file.name) and not file.name.lower().endswith(media)]
    chosen, _ = of_one_kind(kinds) if kinds else ([], [])
    if any(file.name.lower().endswith(media) for file in there) or (places[0].is_dir() and any(map(Path.is_dir, files))):
        chosen = [file for file in chosen if _kind(file.name) == ".tar"]  # notes beside files, not data
    return [str(file) for file in chosen], name, part, places[0] if places[0].is_dir() else path


def _remote_files(text: str, split: str) -> list[str]:
    import fsspec  # type: ignore[import-untyped]

    try:
        system, _ = fsspec.core.url_to_fs(text)
        found: list[str] = []
        for url in _braced(text):
            place = system._strip_protocol(url)
            if _MAGIC.search(place):
                found += sorted(system.glob(place))
            elif system.isdir(place):
                listed = sorted(item for item in system.ls(place, detail=False) if _kind(item))
                found += _of_split(listed, split)
            elif system.exists(place):
                found.append(place)
    except ImportError as error:
        raise SourceError(f"{text} needs a package that is not installed: {error}.") from error
    except Exception as error:  # each file system raises what its client raises
        raise SourceError(f"Cannot list {text}: {type(error).__name__}: {error}") from error
    if not found:
        raise SourceError(
            f"There is nothing at {text} that can be streamed: archives (.tar), .parquet, .jsonl or .txt. Pack other files "
            "into archives, or copy them to this machine."
        )
    _check_kinds(found, text)
    return [system.unstrip_protocol(place) for place in found]


def _check_kinds(files: Sequence[str], name: str) -> None:
    if others := [file for file in files if not _kind(file)]:
        raise SourceError(
            f"{name} names {others[0]}, which cannot be streamed: archives (.tar), .parquet, .jsonl and .txt can, and folders."
        )


def _of_split(files: list[str], split: str) -> list[str]:
    """Those whose names begin with the split's; all where no name begins with any split's."""
    known = {part: re.compile(rf"({'|'.join(names)})([-_.].*)?", re.IGNORECASE) for part, names in SPLIT_NAMES.items()}
    by_split = {part: [file for file in files if form.fullmatch(PurePosixPath(file).name)] for part, form in known.items()}
    return by_split[split] if any(by_split.values()) else files


def _kind(name: str) -> str:
    """``.tar``, ``.parquet``, ``.jsonl``, ..., without a suffix of compression; empty where it cannot be streamed."""
    lower = name.lower()
    found = next((suffix for suffix in sorted(_STREAMED, key=len, reverse=True) if lower.endswith(suffix)), "")
    return next((f".{part}" for part in found.split(".") if part), "")


def _expanded(pattern: str) -> list[str]:
    """Files on this machine that fit a pattern with ``*``, ``?``, ``[...]`` or ``{a,b}``, ``{000..127}``."""
    found: list[str] = []
    for name in _braced(str(Path(pattern).expanduser())):
        path = Path(name)
        if re.search(r"[*?\[]", name):
            found += sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))
        elif path.is_file():
            found.append(name)
    return found


def _braced(text: str) -> list[str]:
    """A pattern with braces as all texts that it stands for."""
    match = _BRACES.search(text)
    if match is None:
        return [text]
    inner = match[1]
    if span := _RANGE.fullmatch(inner):
        width = len(span[1])
        choices = [f"{number:0{width}d}" for number in range(int(span[1]), int(span[2]) + 1)]
    else:
        choices = inner.split(",")
    head, tail = text[: match.start()], text[match.end() :]
    return [done for choice in choices for done in _braced(f"{head}{choice}{tail}")]


def _encoding(url: str, given: str) -> str:
    with open_file(url, unpack=True) as file:
        block = file.read(_BLOCK)
    # The last letter may be cut.
    return find_encoding(iter([block.rsplit(b"\n", 1)[0] if b"\n" in block else block]), url, given).name


def _fingerprint(urls: Sequence[str]) -> str:
    """Hash of the names and sizes of the files, and of when they changed where that is said."""
    import fsspec

    digest = hashlib.sha256()
    for url in urls:
        system, place = fsspec.core.url_to_fs(url)
        about = system.info(place)
        mark = next((about[key] for key in ("ETag", "etag", "mtime", "LastModified", "created") if about.get(key)), "")
        digest.update(json.dumps([PurePosixPath(url).name, about.get("size"), str(mark)]).encode())
    return digest.hexdigest()


def _size_of(folder: Path) -> int:
    """Bytes of the files below a folder; hidden ones are passed over."""
    total = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            try:
                total += Path(place, name).stat().st_size
            except OSError:  # a link that leads nowhere
                continue
    return total
