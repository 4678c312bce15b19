"""Read the sample of a stream: the first rows of archives, Parquet files or lines, as a ``datasets.Dataset``."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.file_groups import FileGroups
from selfsup.data.sources.paths import modalities_of
from selfsup.data.sources.streams.shards import LineShard, ParquetShard, open_file, within
from selfsup.data.sources.tables.read import read_tables
from selfsup.errors import SourceError
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.files import atomic_write

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

SAMPLE_BYTES = 256 << 20
"""Most bytes of files and texts in the sample of a stream."""


@dataclass
class Taken:
    """Records for the sample, and whether these are all."""

    records: list[Mapping[str, Any]]
    ended: bool


def take(records: Iterator[Mapping[str, Any]], most: int, name: str) -> Taken:
    """The first records of a source called ``name``, ``most`` at most."""
    taken = list(within(records, most, SAMPLE_BYTES))
    if not taken:
        raise SourceError(f"{name} holds no row.")
    return Taken(taken, next(records, None) is None)


def sample_of_tars(urls: Sequence[str], groups: FileGroups, most: int) -> tuple[Any, Taken]:
    """The first samples of archives; ``groups`` learns their columns."""
    import datasets
    import pyarrow as pa

    from selfsup.data.sources.tables.tars import open_archive, samples_of

    def records() -> Iterator[Mapping[str, Any]]:
        for url in urls:
            with open_file(url) as file, open_archive(file) as archive:
                for key, group in samples_of(archive):
                    groups.learn(key, group)
                    yield groups.record(key, group)

    taken = take(records(), most, urls[0])
    schema = groups.features().arrow_schema
    arrays = [
        pa.array([groups.cast(name, record.get(name)) for record in taken.records], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return datasets.Dataset(pa.Table.from_arrays(arrays, schema=schema)), taken


def sample_of_parquet(urls: Sequence[str], most: int) -> tuple[Any, Taken]:
    """The first rows of Parquet files."""
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
    return datasets.Dataset(table_cast(pa.Table.from_batches(taken), schema)), Taken([], ended)


def sample_of_lines(shards: Sequence[LineShard], modality: ModalitySpec, most: int, *, as_json: bool) -> tuple[Any, Taken]:
    """Written down as a file of its own, and read as a whole file is: so that types of columns are found alike."""
    lines = itertools.chain.from_iterable(shard.lines() for shard in shards)
    taken = take(({"text": line} for line in lines), most, shards[0].name)
    first = taken.records[0]["text"].lstrip()
    if as_json and not first.startswith("{"):
        raise SourceError(
            f"{shards[0].name} is no file of JSON lines: its first line begins with {first[:20]!r}, and not with {{. Write "
            "each row on a line of its own, or leave out --stream."
        )
    text = "\n".join(record["text"] for record in taken.records) + "\n"
    # Named by its content: what is made of it in the cache is found again by the next run, and not made anew.
    folder = cache_root() / "tables" / f"sample-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    file = folder / ("rows.jsonl" if as_json else "rows.txt")
    if not file.exists():
        atomic_write(file, text)
    return read_tables([file], modalities=modalities_of(modality)).dataset, taken
