"""Read table files (csv, json, parquet, arrow, xlsx, tar, text) as data sets."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from selfsup.data.sources.dataframes import plain_table
from selfsup.data.sources.tables.coco import is_coco, read_coco
from selfsup.data.sources.tables.conversions import repaired
from selfsup.data.sources.tables.delimited import VERSION, read_delimited, read_sheets
from selfsup.data.sources.tables.encodings import (
    COMPRESSED,
    encoding_of_file,
    kind_suffix,
    open_text,
    shown_encoding,
)
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.parquet import read_parquet
from selfsup.data.sources.tables.tars import TAR_SUFFIXES, read_tars
from selfsup.data.sources.tables.workbooks import WORKBOOKS
from selfsup.errors import SelfsupError, SourceError
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.files import give_name, is_of_storage, storage_error, storage_errors
from selfsup.runtime.findings import Findings
from selfsup.runtime.temporary_files import temporary_file

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

TEXT_TABLES = (".csv", ".tsv")
"""Suffixes of texts with separated cells."""
_LINES = (".json", ".jsonl", ".ndjson", ".txt")
CELL_TEXTS = (".txt", ".tab", ".dat", ".data")
"""Further suffixes of such texts for tables; for other modalities ``.txt`` holds a row per line, the rest nothing."""
_TEXTS = (*TEXT_TABLES, *_LINES, *CELL_TEXTS[1:])
TABLE_SUFFIXES = (
    ".parquet", *_TEXTS, *(f"{text}{packed}" for text in _TEXTS for packed in COMPRESSED), ".arrow", ".feather", *WORKBOOKS,
    *TAR_SUFFIXES,
)  # fmt: skip
_OF_CELLS = ("separator", "decimal", "encoding", "header")
_OF_SHEETS = ("decimal", "header", "sheet")
_BLOCK = 1 << 20
_BLOCK_ROWS = 65_536
_HINT = "Tables are converted below the folder that SELFSUP_CACHE names."


class ReadTables(NamedTuple):
    """The result of :func:`read_tables`."""

    dataset: Any
    """The rows, a ``datasets.Dataset``."""
    fingerprint: str
    """Hash of their content and of the settings of reading."""
    findings: Findings
    categories: tuple[str, ...]
    """Columns that the files mark as categories (Arrow dictionaries, as pandas writes them)."""


def hash_files(files: Sequence[Path]) -> str:
    """SHA-256 over the bytes of the files in this order, without their paths."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                digest.update(f"{file.suffix}:{file.stat().st_size};".encode())
                while block := stream.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise SourceError(f"Cannot read {file}: {error.strerror or error}.") from error
    return digest.hexdigest()


def read_tables(
    files: Sequence[Path],
    form: TableFormat | None = None,
    *,
    cells: bool = False,
    modalities: Sequence[ModalitySpec] = (),
    joined: bool = False,
) -> ReadTables:
    """The rows of table files of one kind, converted to an Arrow file in the cache, once for each content.

    Args:
        files: the tables.
        form: of text tables or sheets, as far as the user gives it.
        cells: whether a ``txt`` file holds cells, not lines.
        modalities: their suffixes tell the kind of the members of a tar archive, in addition to the usual ones.
        joined: whether rows join parts: a json file may then be COCO's, and a line of a text in an archive is a caption.

    Raises:
        SourceError: a file cannot be read or does not match its suffix, the files are of several kinds, or hold no row.
        ConfigError: an option of ``form`` has no effect on such files.
        StorageError: the cache cannot be written.
    """
    import datasets

    form = form or TableFormat()
    kinds = sorted({kind_suffix(file) for file in files})
    if len(kinds) > 1:
        raise SourceError(f"{files[0].parent} holds tables of several kinds ({', '.join(kinds)}). Name the file to read.")
    names, suffix = [str(file) for file in files], kinds[0]
    shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    has_separator = suffix in TEXT_TABLES or (cells and suffix in CELL_TEXTS)
    of_texts = suffix in (*_LINES, *TAR_SUFFIXES)
    of_kind = _OF_CELLS if has_separator else _OF_SHEETS if suffix in WORKBOOKS else ("encoding",) if of_texts else ()
    form.refuse(shown, but=of_kind)
    fingerprint = hash_files(files)
    if has_separator or suffix in WORKBOOKS:
        key = json.dumps([fingerprint, VERSION, form.given])
        fingerprint = hashlib.sha256(key.encode()).hexdigest()
    elif suffix in TAR_SUFFIXES:
        key = json.dumps([fingerprint, sorted(spec.id for spec in modalities), joined, form.given])
        fingerprint = hashlib.sha256(key.encode()).hexdigest()
    cache = cache_root() / "tables" / fingerprint[:32]
    with storage_errors(cache, hint=_HINT):
        cache.mkdir(parents=True, exist_ok=True)

    def converted() -> tuple[Any, Findings]:
        if suffix == ".parquet":
            return read_parquet(files, cache / "rows.arrow"), Findings()
        if has_separator:
            preferred = "\t" if suffix == ".tsv" else "," if suffix == ".csv" else " "
            return read_delimited(files, cache / "rows.arrow", form, preferred=preferred)
        if suffix in WORKBOOKS:
            return read_sheets(files, cache / "rows.arrow", form)
        if suffix in TAR_SUFFIXES:
            return read_tars(files, cache / "rows.arrow", modalities, lines=joined, encoding=form.encoding)
        if joined and is_coco(files[0]):
            return read_coco(files)
        if suffix in _LINES:
            plain, findings = _as_utf8(files, cache, form.encoding)
            read = datasets.Dataset.from_text if suffix == ".txt" else datasets.Dataset.from_json
            return read([str(file) for file in plain], cache_dir=str(cache)), findings
        return datasets.concatenate_datasets([_read_arrow(file, cache) for file in files]), Findings()

    with quiet_datasets():
        try:
            dataset, findings = repaired(lambda: _valid(converted()), cache)
            categories = _dictionaries(files[0], suffix)
        except SelfsupError:
            raise
        except Exception as error:  # the parsers may raise anything
            cause = root_cause(error)
            if is_of_storage(cause):
                raise storage_error(cache, cause, hint=_HINT) from error
            raise SourceError(f"Cannot read {shown} as {suffix[1:]}: {type(cause).__name__}: {cause}") from error
    if suffix == ".txt" and not has_separator:
        dataset = _without_empty_lines(dataset)
    if len(dataset) == 0:
        raise SourceError(f"{shown} holds no row.")
    return ReadTables(dataset, fingerprint, findings, categories)


def _dictionaries(file: Path, suffix: str) -> tuple[str, ...]:
    """Columns of dictionary type in a Parquet or Arrow file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if suffix == ".parquet":
        schema = pq.read_schema(file)
    elif suffix in (".arrow", ".feather"):
        with pa.memory_map(str(file)) as source:
            kind = pa.ipc.open_file if source.read(6) == b"ARROW1" else pa.ipc.open_stream
            source.seek(0)
            schema = kind(source).schema
    else:
        return ()
    # Parquet keeps only dictionaries of texts; pandas notes the others.
    noted = {item["name"] for item in (schema.pandas_metadata or {}).get("columns", []) if item["pandas_type"] == "categorical"}
    return tuple(column.name for column in schema if pa.types.is_dictionary(column.type) or column.name in noted)


def _as_utf8(files: Sequence[Path], cache: Path, encoding: str) -> tuple[list[Path], Findings]:
    """Uncompressed UTF-8 files: the files themselves, or copies in the cache."""
    plain, findings = [], Findings()
    for number, file in enumerate(files):
        lines = kind_suffix(file) != ".json"  # an array may be one line
        found = encoding_of_file(file, encoding, lines=lines)
        with open_text(file, found, lines=lines) as stream:
            if not any(part.strip() for part in (stream if lines else _pieces(stream))):
                raise SourceError(f"{file} holds no row.")
        findings.add("format", shown_encoding(found))
        if found.damaged:
            findings.warn(f"{file} holds bytes that are not valid {found.name}; they are read as \ufffd (--encoding).")
        if found.name == "utf-8" and not found.damaged and file.suffix.lower() not in COMPRESSED:
            plain.append(file)
            continue
        copy = cache / f"{number}-{found.name}{kind_suffix(file)}"
        if not copy.exists():
            with temporary_file(copy) as temporary:
                with open_text(file, found) as source, temporary.open("w", encoding="utf-8", newline="") as target:
                    shutil.copyfileobj(source, target, _BLOCK)
                give_name(temporary, copy)
        plain.append(copy)
    return plain, findings


def _valid(found: tuple[Any, Findings]) -> tuple[Any, Findings]:
    """The same, if all values are valid; to read others would raise anywhere, or end the process.

    Raises:
        pyarrow.ArrowInvalid: some are not.
    """
    _validate(found[0].data.table.to_batches())
    return found


def _validate(batches: Iterable[Any]) -> None:
    for batch in batches:
        batch.validate(full=True)


def _pieces(stream: TextIO) -> Iterator[str]:
    return iter(lambda: stream.read(_BLOCK), "")


def _read_arrow(file: Path, cache: Path) -> Any:
    """The rows of an Arrow stream, as ``datasets`` writes it, or of an Arrow file (feather), which is converted.

    All values are validated first: Arrow takes the offsets in a file as they are, and a wrong one would end the process.
    """
    import datasets
    import pyarrow as pa

    with file.open("rb") as stream:
        is_stream = stream.read(6) != b"ARROW1"
    if is_stream:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as batches:
            _validate(batches)
        return datasets.Dataset.from_file(str(file))
    copy = cache / f"{hashlib.sha256(str(file).encode()).hexdigest()[:16]}.arrow"
    if not copy.exists():
        with temporary_file(copy) as temporary:
            with pa.memory_map(str(file)) as source, pa.ipc.open_file(source) as reader:
                batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
                _validate(batches)
                parts = [plain_table(pa.Table.from_batches([batch])) for batch in batches]
                schema = datasets.Features.from_arrow_schema(parts[0].schema if parts else reader.schema).arrow_schema
                with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                    for part in parts:
                        writer.write_table(part.cast(schema))
            give_name(temporary, copy)
    return datasets.Dataset.from_file(str(copy))


def _without_empty_lines(dataset: Any) -> Any:
    """The lines of a text file that are not blank."""
    import pyarrow.compute as pc

    view = dataset.with_format("arrow")
    kept = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(view), _BLOCK_ROWS):
        text = view[start : start + _BLOCK_ROWS].column("text")
        filled = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(text)), 0)
        kept.append(np.flatnonzero(filled.to_numpy()) + start)
    indices = np.concatenate(kept)
    return dataset if len(indices) == len(dataset) else dataset.select(indices, keep_in_memory=True)


def root_cause(error: BaseException) -> BaseException:
    """The first error of a chain, the actual cause."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Hide the progress bars of ``datasets`` in the block, since stderr belongs to the command."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
