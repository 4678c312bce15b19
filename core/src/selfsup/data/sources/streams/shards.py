"""Files that are read row by row, on this machine or through fsspec: archives, Parquet, lines of JSON or text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

from selfsup.damaged_files import parse_json
from selfsup.data.rows import Rows
from selfsup.data.sources.file_groups import FileGroups
from selfsup.data.sources.streams.remote_files import described, open_remote, persistently
from selfsup.data.sources.tables.line_lengths import bounded_lines
from selfsup.data.sources.tables.read import root_cause
from selfsup.data.sources.tables.tars import open_archive, samples_of
from selfsup.errors import SelfsupError, SourceError

_BATCH_ROWS = 256
_BLOCK_ROWS = 1024


@contextmanager
def open_file(url: str, *, unpack: bool = False) -> Iterator[IO[bytes]]:
    """The bytes of a file, by its path or URL; ``unpack``: decompressed where its suffix says so.

    Raises:
        SourceError: it cannot be opened, or reading from it fails within the block.
    """
    import fsspec  # type: ignore[import-untyped]

    with _reading_errors(url):
        if "://" not in url:
            with fsspec.open(url, "rb", compression="infer" if unpack else None) as file:
                yield file
        else:
            packed = fsspec.utils.infer_compression(url) if unpack else None
            with open_remote(url) as raw:
                yield raw if packed is None else fsspec.compression.compr[packed](raw, mode="r")


def read_file(url: str) -> bytes:
    """All bytes of a file at a URL, which are one request.

    Raises:
        SourceError: it cannot be read.
    """
    import fsspec

    with _reading_errors(url):
        system, place = fsspec.core.url_to_fs(url)
        return bytes(persistently(lambda: system.cat_file(place), url))


@contextmanager
def _reading_errors(url: str) -> Iterator[None]:
    """Raise what a file system's client raises within the block as a SourceError."""
    try:
        yield
    except (SelfsupError, GeneratorExit):
        raise
    except ImportError as error:
        raise SourceError(f"{url} needs a package that is not installed: {error}.") from error
    except Exception as error:  # each file system raises what its client raises
        raise SourceError(f"Cannot read {url}: {described(error)}") from error


@dataclass(frozen=True)
class TarShard:
    """An archive of samples (webdataset): files of one sample lie together and are called alike."""

    name: str
    groups: FileGroups = field(repr=False)
    """Turns the files of a sample into columns; its types are known."""
    columns: tuple[str, ...] = ()
    """What to give; none: all."""

    def count(self) -> int | None:
        """None: an archive says nowhere how many samples it holds."""
        return None

    def records(self, start: int) -> Iterator[Mapping[str, Any]]:
        """The samples; of those before ``start`` the names alone are read."""
        with open_file(self.name) as file, open_archive(file) as archive:
            for key, group in itertools.islice(samples_of(archive), start, None):
                record = self.groups.record(key, group)
                yield {column: self._cast(column, record.get(column)) for column in self.columns or record}

    def _cast(self, column: str, value: Any) -> Any:
        """A value as the type that the sample's has; None, which makes the row a bad one, where it cannot be that."""
        try:
            return self.groups.cast(column, value)
        except (TypeError, ValueError, OverflowError):
            return None


@dataclass(frozen=True)
class ParquetShard:
    """A Parquet file."""

    name: str
    columns: tuple[str, ...] = ()
    """What to read; none: all."""

    def count(self) -> int | None:
        """As its last bytes say, which are read once."""
        return self._rows

    @cached_property
    def _rows(self) -> int:
        import pyarrow.parquet as pq

        with open_file(self.name) as file:
            return int(pq.ParquetFile(file).metadata.num_rows)

    def records(self, start: int) -> Iterator[Mapping[str, Any]]:
        """The rows; row groups before ``start`` are not read."""
        for batch in self.batches(start):
            yield from batch.to_pylist()

    def batches(self, start: int) -> Iterator[Any]:
        """The rows as ``pyarrow.RecordBatch``."""
        import pyarrow.parquet as pq

        with open_file(self.name) as file, pq.ParquetFile(file, pre_buffer=False) as source:
            before = 0
            for group in range(source.num_row_groups):
                rows = source.metadata.row_group(group).num_rows
                if before + rows > start:
                    columns = list(self.columns) or None
                    for batch in source.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
                        if before + len(batch) > start:
                            yield batch.slice(max(start - before, 0))
                        before += len(batch)
                else:
                    before += rows


@dataclass(frozen=True)
class LineShard:
    """A file of lines: JSON objects, or texts."""

    name: str
    as_json: bool
    encoding: str = "utf-8"

    def count(self) -> int | None:
        """None: all of it would have to be read."""
        return None

    def records(self, start: int) -> Iterator[Mapping[str, Any]]:
        """The lines that are not empty, as columns; a line that is no JSON object is a row without columns."""
        for line in itertools.islice(self.lines(), start, None):
            if not self.as_json:
                yield {"text": line}
                continue
            try:
                parsed = parse_json(line)
            except ValueError:
                parsed = {}
            yield parsed if isinstance(parsed, dict) else {}

    def lines(self) -> Iterator[str]:
        """The lines that hold more than white space, without their ends."""
        with (
            open_file(self.name, unpack=True) as file,
            bounded_lines(file, self.name, self.encoding) as text,
        ):
            for line in text:
                if line.strip():
                    yield line.rstrip("\r\n")


@dataclass(frozen=True)
class RowsShard:
    """A stretch of rows that can be read anywhere: of files in a folder, or of a table that was converted."""

    rows: Rows
    first: int
    length: int

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"{self.rows.name}, rows {self.first} to {self.first + self.length - 1}"

    def count(self) -> int:
        """Its number of rows."""
        return self.length

    def records(self, start: int) -> Iterator[Mapping[str, Any]]:
        """Columns as the source has them."""
        view = self.rows.view
        for begin in range(self.first + start, self.first + self.length, _BATCH_ROWS):
            yield from view[begin : min(begin + _BATCH_ROWS, self.first + self.length)].to_pylist()


@dataclass(frozen=True)
class DatasetShard:
    """A shard of a ``datasets.IterableDataset``."""

    name: str
    dataset: Any = field(repr=False)
    media: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Columns of files to their features: a file may come decoded, or as the URL of its bytes."""

    def count(self) -> int | None:
        """None: it is not said by shard."""
        return None

    def records(self, start: int) -> Iterator[Mapping[str, Any]]:
        """Its rows; those before ``start`` are read and left."""
        try:
            for record in itertools.islice(self.dataset, start, None):
                yield {**record, **{name: _as_file(record.get(name), feature) for name, feature in self.media.items()}}
        except SelfsupError:
            raise
        except Exception as error:  # whatever the source below raises
            cause = root_cause(error)
            raise SourceError(f"Cannot read {self.name}: {type(cause).__name__}: {cause}") from error


def _as_file(value: Any, feature: Any) -> Any:
    """A file with its bytes where only its URL is given, or encoded where it is decoded; None where it is none."""
    if isinstance(value, Mapping):
        path = value.get("path")
        if value.get("bytes") is None and isinstance(path, str) and "://" in path:
            return {**value, "bytes": read_file(path)}
        return value
    try:
        return None if value is None else feature.encode_example(value)
    except Exception:  # whatever stands in the place of a file
        return None


def shards_of(rows: Rows) -> list[RowsShard]:
    """Rows as shards of 1024 rows."""
    return [RowsShard(rows, first, min(_BLOCK_ROWS, len(rows) - first)) for first in range(0, len(rows), _BLOCK_ROWS)]


def within(records: Iterable[Mapping[str, Any]], rows: int, size: int) -> Iterator[Mapping[str, Any]]:
    """The first records: at most ``rows``, and about ``size`` bytes of files and texts together."""
    held = 0
    for record in itertools.islice(records, rows):
        yield record
        held += sum(map(_bytes_of, record.values()))
        if held > size:
            return


def _bytes_of(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes_of, value.values()))
    return len(value) if isinstance(value, bytes | str) else 8
