"""Detect the header of a text table, and the lines above it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.numbers import as_number
from selfsup.errors import SourceError
from selfsup.runtime.findings import Findings, listed_names

Record = list[str]
_YEARS = range(1800, 2101)


def read_header(
    records: Iterator[tuple[int, Record]], table: Any, form: TableFormat, findings: Findings
) -> tuple[list[str], Iterator[tuple[int, Record]], int]:
    """The names of the columns, the records below them, and the number of lines above those."""
    layout = table.layout
    above = 0
    filled = ((line, record) for line, record in records if any(map(str.strip, record)))
    for _ in range(layout.skipped):
        above, _ = next(filled, (0, []))
    if layout.skipped:
        passed = "the line" if layout.skipped == 1 else f"{layout.skipped} lines"
        findings.add("header", f"{passed} above it skipped")
    first = next(filled, None)
    if first is None:
        raise SourceError(f"{table.name} holds no row.")
    line, header = first
    if not form.header:
        names = [f"column_{place}" for place in range(max(len(header), layout.width))]
        return names, itertools.chain([first], filled), above
    second = next(filled, None)
    if second is None:
        raise SourceError(
            f"{table.name} holds no row except its header ({listed_names(header)}). If that is a row: --no-header."
        )
    header = [name.strip().removeprefix("\ufeff") for name in header]
    if len(header) == layout.width - 1:  # as R writes it: the column of row names has no name
        header = ["", *header]
    if numbers := _data_in_header(header, second[1]):
        findings.warn(
            f"The first line of {table.name} looks like data, but is read as the names of the columns "
            f"({listed_names(numbers)}). If it is data: --no-header."
        )
    return _unique(header, findings), itertools.chain([second], filled), line


def _data_in_header(header: Sequence[str], below: Sequence[str]) -> list[str]:
    """Names that are numbers above numbers, except years and counted columns (0, 1, 2)."""
    pairs = zip(header, below, strict=False)
    found = [name for name, cell in pairs if name and as_number(name) is not None and as_number(cell) is not None]
    whole = [int(name) for name in found if name.isdigit()]
    years = len(whole) == len(found) and all(number in _YEARS for number in whole)
    counted = bool(whole) and whole == list(range(whole[0], whole[0] + len(found)))
    return [] if (years or counted) and len(header) > 1 else found


def is_unnamed(name: str) -> bool:
    """Whether a column has no name in the file."""
    return name.startswith("Unnamed: ")


def _unique(header: Sequence[str], findings: Findings) -> list[str]:
    """Unique names: a column without a name is ``Unnamed: 3``, a second ``a`` is ``a.1``."""
    taken = Counter(header)
    names: list[str] = []
    renamed = []
    for place, name in enumerate(header):
        chosen = name or f"Unnamed: {place}"
        number = 0
        while chosen in names or (number and chosen in taken):
            number += 1
            chosen = f"{name}.{number}"
        if number:
            renamed.append(f"the second {name!r} is {chosen!r}")
        names.append(chosen)
    if renamed:
        findings.add("columns", f"with the same name: {listed_names(renamed)}")
    return names
