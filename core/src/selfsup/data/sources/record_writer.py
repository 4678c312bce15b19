"""Write the rows of an object in memory to an Arrow file in the cache."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.columns.choose import FoundSource
from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.dataframes import arrow_column
from selfsup.data.sources.in_memory import Records, records
from selfsup.data.sources.items import Record, with_rate
from selfsup.data.sources.media.encode import array_of, kind_of_value, media_file
from selfsup.errors import SelfsupError, SourceError
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.files import give_name, storage_errors
from selfsup.runtime.findings import Findings
from selfsup.runtime.temporary_files import temporary_file

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

_CHUNK_ROWS = 1024
_LOOKED_AT = 64
"""Number of rows that decide which columns hold media, if the modality does not fix it."""
_CHUNK_BYTES = 8 << 20
_MOST_NAMED = 3
"""Number of unreadable items that are named."""
_HINT = "Rows in memory are written to the folder that SELFSUP_CACHE names."


def source_in_memory(source: Any, split: str, modality: ModalitySpec, name: str = "") -> FoundSource:
    """The rows of an array, a list, a mapping of columns, a data set of torch, or a generator."""
    found = records(source, modality)
    dataset, fingerprint = write_records(found, modality)
    findings = Findings({"source": found.described})
    for text in found.unreadable[:_MOST_NAMED]:
        findings.warn(text)
    if len(found.unreadable) > _MOST_NAMED:
        findings.warn(f"{len(found.unreadable) - _MOST_NAMED} more items cannot be read.")
    return FoundSource(dataset, name or found.name, split, fingerprint, findings=findings)


def write_records(found: Records, modality: ModalitySpec) -> tuple[Any, str]:
    """Rows as a ``datasets.Dataset``, and the hash of their content.

    They go to an Arrow file in the cache, a few megabytes at a time, so that a generator may be larger than the memory. Media
    become encoded files in it (:func:`selfsup.data.sources.media.encode.media_file`).

    Raises:
        SourceError: there is no row, or a row has other columns or types than the first ones.
        StorageError: the cache cannot be written.
    """
    import datasets
    import pyarrow as pa

    kinds = {role: kind.lower() for role, kind in modality.columns.items() if kind.lower() in MEDIA}
    rows = found.rows
    if modality.joins:
        begun = list(itertools.islice(rows, _LOOKED_AT))
        kinds = {name: kind for name in dict.fromkeys(name for row in begun for name in row) if (kind := _medium(begun, name))}
        waves = [name for name, kind in kinds.items() if kind == "audio"]
        rows = (with_rate(row, *waves) for row in itertools.chain(begun, rows))
    digest = hashlib.sha256()
    cache = cache_root() / "objects"
    chunks = _chunks(rows, kinds)
    first = next(chunks, None)
    if first is None:
        again = " A generator can be read once: give a list to read it again."
        once = again if found.described.endswith("read once") else ""
        raise SourceError(f"{found.name} holds no row.{once}")
    features = _features(first, kinds, found.class_names, named=modality.joins)
    schema = features.arrow_schema
    digest.update(str(schema).encode())
    with storage_errors(cache, hint=_HINT):
        cache.mkdir(parents=True, exist_ok=True)
        with temporary_file(cache / "rows") as temporary:
            start = 0
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                while first is not None:
                    batch = _batch(first, schema, start)
                    for column in batch.columns:
                        for buffer in column.buffers():
                            digest.update(b"\0" if buffer is None else buffer)
                    writer.write_batch(batch)
                    start += len(first)
                    first = next(chunks, None)
            final = cache / f"{digest.hexdigest()[:32]}.arrow"
            give_name(temporary, final)
    return datasets.Dataset.from_file(str(final)), digest.hexdigest()


def _chunks(rows: Iterator[Record], kinds: dict[str, str]) -> Iterator[list[Record]]:
    """Rows with encoded media, a few megabytes at a time."""
    chunk: list[Record] = []
    size = 0
    for place, record in enumerate(rows):
        for role, kind in kinds.items():
            if role in record:
                try:
                    file = media_file(record[role], kind)
                except SelfsupError as error:
                    raise SourceError(f"Item {place}: {error}") from error
                record = {**record, role: file}
                size += len(file["bytes"] or b"")
        chunk.append(record)
        if len(chunk) == _CHUNK_ROWS or size > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _medium(rows: Sequence[Record], name: str) -> str:
    """``image``, ``audio`` or ``video`` if all values of a column are of this medium, and no paths; else empty."""
    values = [value for row in rows if (value := row.get(name)) is not None]
    kinds = {kind_of_value(value, rate="sampling_rate" in rows[0]) for value in values}
    return kinds.pop() if len(kinds) == 1 else ""


def _features(
    rows: Sequence[Record], kinds: dict[str, str], class_names: Mapping[str, tuple[str, ...]], *, named: bool = False
) -> Any:
    """The features of the columns of the first rows; with ``named``, media columns have their medium's feature."""
    import datasets
    import pyarrow as pa

    columns = dict.fromkeys(name for row in rows for name in row)
    plain = pa.table(
        {name: arrow_column(map(_listed, (row.get(name) for row in rows))) for name in columns if name not in kinds}
    )
    features: dict[str, Any] = {}
    for name in columns:
        if name in kinds and named:
            media = {"image": datasets.Image, "audio": datasets.Audio, "video": datasets.Video}
            features[name] = media[kinds[name]](decode=False)
        elif name in kinds:
            features[name] = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
        elif name in class_names and _are_ids([row.get(name) for row in rows], len(class_names[name])):
            features[name] = datasets.ClassLabel(names=list(class_names[name]))
        else:
            features[name] = datasets.Features.from_arrow_schema(plain.schema)[name]
    return datasets.Features(features)


def _are_ids(labels: Sequence[Any], count: int) -> bool:
    given = [label for label in labels if label is not None]
    return all(isinstance(label, int) and not isinstance(label, bool) and -1 <= label < count for label in given)


def _batch(rows: Sequence[Record], schema: Any, start: int) -> Any:
    """Rows as an Arrow batch of a schema."""
    import pyarrow as pa

    arrays = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = [_listed(row.get(name)) for row in rows]
        try:
            arrays.append(pa.array(values, kind, from_pandas=True))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise SourceError(
                f"Column {name!r} of rows {start} to {start + len(rows) - 1} does not fit the first rows, which hold {kind} "
                f"({error}): give every row values of one type."
            ) from error
    if unknown := {name for row in rows for name in row} - set(schema.names):
        raise SourceError(
            f"Rows {start} to {start + len(rows) - 1} have columns that the first rows lack: {', '.join(sorted(unknown))}."
        )
    return pa.record_batch(arrays, schema=schema)


def _listed(value: Any) -> Any:
    """An array as a list; everything else unchanged."""
    array = array_of(value)
    return value if array is None else array.tolist()
