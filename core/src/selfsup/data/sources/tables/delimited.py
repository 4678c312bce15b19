"""Convert csv, tsv and sheets to one Arrow file, with detected separator, header and types."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsup.data.sources.tables.column_types import ColumnType
from selfsup.data.sources.tables.encodings import (
    FoundEncoding,
    encoding_of_file,
    open_bytes,
    open_text,
    shown_encoding,
)
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.header import Record, is_unnamed, read_header
from selfsup.data.sources.tables.separators import Layout, find_layout, long_cells
from selfsup.errors import SourceError
from selfsup.runtime.files import atomic_write, give_name
from selfsup.runtime.findings import Findings, listed_names
from selfsup.runtime.temporary_files import temporary_file

_CHUNK_ROWS = 8192
_BLOCK_BYTES = 4 << 20
_MOST_RAGGED = 0.01
"""A table is refused if a larger share of its rows has more cells than the header."""
_END = "\x1d(end of the table)\x1d"
"""A line after the last one: if it is inside a cell, a quotation mark is open."""
VERSION = 1
"""Version of the conversion, part of the key of its cached result."""


@dataclass
class _Ragged:
    """Counts of rows with fewer or more cells than the header."""

    short: list[str] = field(default_factory=list)
    long: list[str] = field(default_factory=list)
    rows: int = 0
    n_short: int = 0
    n_long: int = 0


def read_delimited(files: Sequence[Path], target: Path, form: TableFormat, *, preferred: str) -> tuple[Any, Findings]:
    """The rows of text tables as a data set, read from the Arrow file ``target``, which is written unless it exists.

    Args:
        files: with the same columns, in any order.
        target: of the conversion; the findings are kept beside it.
        form: of the files, as far as the user gives it.
        preferred: the usual separator for the suffix.

    Raises:
        SourceError: a file cannot be read, or is not a table.
    """
    tables = [_TextTable(file, form, preferred) for file in files]
    return _converted(tables, target, form)


def read_sheets(files: Sequence[Path], target: Path, form: TableFormat) -> tuple[Any, Findings]:
    """The rows of a sheet of each workbook, like :func:`read_delimited` for texts."""
    from selfsup.data.sources.tables.workbooks import SheetTable

    return _converted([SheetTable(file, form) for file in files], target, form)


class _TextTable:
    """The records of a text table."""

    def __init__(self, file: Path, form: TableFormat, preferred: str) -> None:
        self.name, self.file = str(file), file
        self.encoding: FoundEncoding = encoding_of_file(file, form.encoding)
        with open_text(file, self.encoding) as stream:
            self.layout: Layout = find_layout(stream, form.separator, preferred)

    def records(self) -> Iterator[tuple[int, Record]]:
        """Line number of the end of each record, and its cells."""
        with open_text(self.file, self.encoding, lines=True) as stream:
            reader = self.layout.reader(itertools.chain(stream, [_END]))
            line = 0
            for record in reader:
                if record and record[-1].endswith(_END):
                    if record[-1] == _END:
                        return
                    raise SourceError(
                        f"Cannot read {self.name} as a table: a quotation mark on or after line {line + 1} is never closed."
                    )
                line = reader.line_num
                yield line, record

    def is_regular(self, width: int) -> bool:
        """Whether Arrow's parser reads a table of this width like this class, judged by its first rows."""
        plain = self.encoding.name == "utf-8" and not self.encoding.damaged and width > 1 and width == self.layout.width
        return plain and self.layout.quoted and not self.layout.spaced and self.layout.separator != " "

    def quick_batches(self, stream: Any, names: Sequence[str], above: int) -> Any:
        """A reader of Arrow batches with all cells as texts."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        return arrow_csv.open_csv(
            stream,
            read_options=arrow_csv.ReadOptions(
                column_names=list(names), skip_rows=above, block_size=_BLOCK_BYTES, use_threads=False
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.layout.separator, quote_char=self.layout.quote, newlines_in_values=True
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()), null_values=[], strings_can_be_null=False
            ),
        )

    def findings(self) -> Findings:
        """Encoding and separator."""
        found = Findings()
        found.add("format", f"{shown_encoding(self.encoding)}, separator {self.layout.shown()}")
        if self.encoding.damaged:
            found.warn(
                f"{self.name} holds bytes that are not valid {self.encoding.name}; they are read as \ufffd (--encoding)."
            )
        return found


def _converted(tables: Sequence[Any], target: Path, form: TableFormat) -> tuple[Any, Findings]:
    import datasets
    import pyarrow as pa

    notes = target.with_suffix(".json")
    if not (target.exists() and notes.exists()):
        with temporary_file(target) as temporary, temporary_file(target) as texts:
            try:
                findings = _convert(tables, temporary, texts, form, quick=True)
            except (NotQuickError, pa.ArrowInvalid):  # uneven rows or unclosed quotation marks: read them one by one
                findings = _convert(tables, temporary, texts, form, quick=False)
            atomic_write(notes, json.dumps(findings.as_json()))
            give_name(temporary, target)
    kept = json.loads(notes.read_text(encoding="utf-8"))
    return datasets.Dataset.from_file(str(target)), Findings(kept["facts"], kept["warnings"])


def _convert(tables: Sequence[Any], target: Path, texts: Path, form: TableFormat, *, quick: bool) -> Findings:
    """Write all cells as texts and learn the type of each column; then write the columns with their types.

    Args:
        tables: to join.
        target: the Arrow file.
        texts: another Arrow file, for the cells as texts.
        form: as the user gives it.
        quick: read regular tables with Arrow's parser, many times faster; it raises on irregular ones.
    """
    import pyarrow as pa

    findings, ragged = Findings(), _Ragged()
    columns: list[str] = []
    types: list[ColumnType] = []
    with long_cells(), pa.OSFile(str(texts), "wb") as sink:
        writer = None
        for table in tables:
            own = table.findings()
            findings = findings.joined(own)
            records = table.records()
            names, records, above = read_header(records, table, form, findings)
            if writer is None:
                columns, types = names, [ColumnType() for _ in names]
                writer = pa.ipc.new_stream(sink, pa.schema([(name, pa.large_string()) for name in names]))
            elif sorted(names) != sorted(columns):
                raise SourceError(
                    f"{table.name} has the columns {listed_names(names)}, but {tables[0].name} {listed_names(columns)}. Tables "
                    "in one folder must have the same columns; name the table to read."
                )
            order = [names.index(name) for name in columns]
            parts = _quick_parts(table, names, above, records, ragged) if quick and table.is_regular(len(names)) else None
            for cells in parts or _parts(records, len(names), ragged, table.name):
                arrays = [pa.array(cells[place], pa.large_string()) for place in order]
                for kind, array in zip(types, arrays, strict=True):
                    kind.feed(array)
                writer.write_batch(pa.record_batch(arrays, names=columns))
        if writer is None:
            raise SourceError("There is no table to read.")
        writer.close()
    _warn_ragged(ragged, findings)
    _write_typed(texts, target, columns, types, form, findings)
    return findings


def _write_typed(
    texts: Path, target: Path, columns: Sequence[str], types: Sequence[ColumnType], form: TableFormat, findings: Findings
) -> None:
    import datasets
    import pyarrow as pa

    marks = {kind.evidence.decimal() for kind in types if kind.evidence.sure and kind.is_number()}
    preferred = form.decimal or ("," if "," in marks and "." not in marks else "")
    plans = [kind.plan(form.decimal, preferred) for kind in types]
    empty = {name for name, plan in zip(columns, plans, strict=True) if plan.empty and is_unnamed(name)}
    kept = [place for place, name in enumerate(columns) if name not in empty]
    if not kept:
        raise SourceError(f"The table holds no value (its columns are {listed_names(columns)}).")
    if empty:
        findings.add(
            "columns", f"left out: {listed_names(name for name in columns if name in empty)} (empty and without a name)"
        )
    if commas := [name for name, plan in zip(columns, plans, strict=True) if plan.decimal == ","]:
        findings.add("decimal", f"',' in {listed_names(commas)} (--decimal sets it)")
    marked = {name: kind.marks for name, kind, plan in zip(columns, types, plans, strict=True) if plan.numeric and kind.marks}
    if marked:
        shown = (f"{name} ({', '.join(map(repr, sorted(marks)))})" for name, marks in marked.items())
        findings.add("missing", f"marks for it in {listed_names(shown)}")
    if written := [name for name, plan in zip(columns, plans, strict=True) if plan.written]:
        findings.add("signs", f"numbers with currency, per cent or thousands marks in {listed_names(written)}")
    names = [columns[place] for place in kept]
    features = datasets.Features({name: datasets.Value(plans[place].feature) for name, place in zip(names, kept, strict=True)})
    schema = features.arrow_schema
    with (
        pa.memory_map(str(texts)) as source,
        pa.OSFile(str(target), "wb") as sink,
        pa.ipc.open_stream(source) as reader,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        for batch in reader:
            typed = [plans[place].typed(batch.column(place)) for place in kept]
            arrays = [array.cast(field.type) for array, field in zip(typed, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _even(records: Iterable[tuple[int, Record]], width: int, ragged: _Ragged, name: str) -> Iterator[Record]:
    """Records of one width: short ones are padded, long ones are skipped unless the extra cells are empty."""
    for line, record in records:
        ragged.rows += 1
        if len(record) < width:
            ragged.n_short += 1
            if len(ragged.short) < 3:
                ragged.short.append(f"line {line} has {len(record)}")
            record = [*record, *[""] * (width - len(record))]
        elif len(record) > width:
            if any(cell.strip() for cell in record[width:]):
                ragged.n_long += 1
                if len(ragged.long) < 3:
                    ragged.long.append(f"line {line} of {name} has {len(record)}")
                continue
            record = record[:width]
        yield record
    if ragged.n_long > max(_MOST_RAGGED * ragged.rows, 1) or (ragged.rows and ragged.n_long == ragged.rows):
        raise SourceError(
            f"{ragged.n_long} of {ragged.rows} rows have more cells than the header has columns ({width}): "
            f"{', '.join(ragged.long)}. Name the separator with --separator, or repair the file."
        )


def _warn_ragged(ragged: _Ragged, findings: Findings) -> None:
    if ragged.n_short:
        findings.warn(
            f"{ragged.n_short} of {ragged.rows} rows have fewer cells than the header ({', '.join(ragged.short)}); the "
            "other cells are missing values."
        )
    if ragged.n_long:
        findings.warn(
            f"{ragged.n_long} of {ragged.rows} rows are left out because they have more cells than the header "
            f"({', '.join(ragged.long)})."
        )


def _parts(records: Iterator[tuple[int, Record]], width: int, ragged: _Ragged, name: str) -> Iterator[list[Any]]:
    """The cells of a few thousand rows at a time, column by column."""
    even = _even(records, width, ragged, name)
    while chunk := list(itertools.islice(even, _CHUNK_ROWS)):
        yield list(zip(*chunk, strict=True))


class NotQuickError(Exception):
    """Arrow's parser may have read a table wrongly."""


def _quick_parts(
    table: _TextTable, names: Sequence[str], above: int, records: Iterator[tuple[int, Record]], ragged: _Ragged
) -> Iterator[list[Any]]:
    """The same with Arrow's parser.

    Raises:
        NotQuickError: its first row differs, or its last row has a line break in a cell: a quotation mark may be open.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    last: list[Any] = []
    with open_bytes(table.file) as stream:
        for number, batch in enumerate(table.quick_batches(stream, names, above)):
            columns = batch.columns
            if not number and [column[0].as_py() for column in columns] != next(records)[1]:
                raise NotQuickError
            last = [column[-1].as_py() for column in columns]
            blank = pc.equal(pc.utf8_trim_whitespace(columns[0]), "")
            if pc.any(blank).as_py():  # drop rows without any value
                for column in columns[1:]:
                    blank = pc.and_(blank, pc.equal(pc.utf8_trim_whitespace(column), ""))
                columns = pa.record_batch(columns, names=list(names)).filter(pc.invert(blank)).columns
            ragged.rows += len(columns[0])
            yield columns
    if any("\n" in cell for cell in last):
        raise NotQuickError
