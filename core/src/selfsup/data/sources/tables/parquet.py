"""Convert Parquet files to one Arrow file in constant memory.

The conversion of the ``datasets`` library reads far ahead, so its memory grows with the files. This one holds one page of each
column and one batch of rows, for row groups of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsup.runtime.files import give_name
from selfsup.runtime.temporary_files import temporary_file

_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 16_384
_BUFFER_BYTES = 1 << 20


def read_parquet(files: Sequence[Path], target: Path) -> Any:
    """The rows of Parquet files, read from the Arrow file ``target``, which is written unless it exists.

    All files must have the same columns. Feature types in the metadata, as ``datasets`` writes them, are kept.

    Raises:
        OSError, pyarrow.ArrowException: a file cannot be read, is no Parquet, or ``target`` cannot be written.
        ValueError: a file has other columns than the first one.
    """
    import datasets

    if not target.exists():
        with temporary_file(target) as temporary:
            _convert(files, temporary)
            give_name(temporary, target)
    return datasets.Dataset.from_file(str(target))


def _convert(files: Sequence[Path], target: Path) -> None:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets.table import table_cast

    with pq.ParquetFile(files[0]) as first:
        schema = datasets.Features.from_arrow_schema(first.schema_arrow).arrow_schema
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for file in files:
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as source:
                if set(source.schema_arrow.names) != set(schema.names):
                    raise ValueError(f"{file.name} has columns {source.schema_arrow.names}, but {files[0].name} {schema.names}")
                rows = 0
                for batch in source.iter_batches(_rows_at_a_time(source.metadata), columns=schema.names, use_threads=False):
                    batch.validate(full=True)  # texts that are not UTF-8 would fail wherever they are read
                    table = pa.Table.from_batches([batch]).select(schema.names)
                    writer.write_table(table_cast(table, schema))
                    rows += len(batch)
                if rows != source.metadata.num_rows:
                    raise ValueError(f"its footer states {source.metadata.num_rows:,} rows, and it holds {rows:,}")


def _rows_at_a_time(metadata: Any) -> int:
    """Number of rows in a batch of about 8 MB."""
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    mean = size / max(metadata.num_rows, 1)
    return int(min(max(_BATCH_BYTES / max(mean, 1), 1), _BATCH_ROWS))
