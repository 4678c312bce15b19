"""Detect the separator of a text table, and the line of its header."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TextIO

from selfsup.data.sources.tables.numbers import as_number

_CANDIDATES = (",", ";", "\t", "|", " ")
_SAMPLE_RECORDS = 200
_SAMPLE_LETTERS = 1 << 18
_REGULAR = 0.8
"""Share of records that must have the usual number of cells for a separator to count."""
_SPACED = 0.9
"""If at least this share of separators is followed by a space, the space belongs to them."""
_PREAMBLE = 20
"""Most lines above a header."""
NONE = "\x1f"
"""No separator: a character that does not occur in texts."""


@dataclass(frozen=True)
class Layout:
    """How the records of a text table are separated."""

    separator: str
    width: int
    """Usual number of cells of a record."""
    skipped: int
    """Records above the header, which are skipped."""
    guessed: bool
    spaced: bool = False
    """Whether spaces after a separator do not belong to the cell."""
    quoted: bool = True
    """Whether quotation marks enclose cells."""
    quote: str = '"'
    """The quotation mark."""

    def reader(self, lines: Iterable[str]) -> Any:
        """A ``csv.reader`` of the records."""
        return csv.reader(
            lines,
            delimiter=self.separator,
            quotechar=self.quote,
            skipinitialspace=self.spaced or self.separator == " ",
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
        )

    def shown(self) -> str:
        """For people."""
        name = {"\t": "tab", " ": "space", NONE: "none, one column"}.get(self.separator, repr(self.separator))
        return f"{name} (--separator sets it)" if self.guessed else name


@contextmanager
def long_cells() -> Iterator[None]:
    """Allow cells of any length, such as whole articles; Python's ``csv`` stops at 131,072 characters."""
    former = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(former)


def find_layout(stream: TextIO, given: str, preferred: str) -> Layout:
    """The layout of a text table, from its first records.

    With the right separator, the header has at least two cells and most records have as many; of several such, ``preferred``
    (the usual one for the file's suffix) counts. Lines above the header with fewer cells (titles, ``sep=;``) are skipped. A
    ``given`` separator is not detected.
    """
    text = stream.read(_SAMPLE_LETTERS)
    whole = len(text) < _SAMPLE_LETTERS
    first = text.split("\n", 1)[0].strip().removeprefix("\ufeff")
    if not given and first.lower().startswith("sep=") and len(first) == 5:  # what Excel reads and some programs write
        given = first[4]
    if given:
        return _layout(text, given, whole, guessed=False)[0]
    found = {}
    for candidate in _CANDIDATES:
        if candidate in text and (candidate != " " or preferred == " "):
            layout, regular = _layout(text, candidate, whole, guessed=True)
            if layout.width > 1 and regular:
                found[candidate] = (layout, regular)
    if not found:
        return Layout(NONE, 1, 0, guessed=True)
    regular_ones = [candidate for candidate, (_, regular) in found.items() if regular >= _REGULAR] or list(found)

    def rank(candidate: str) -> tuple[bool, int, float, bool, int]:
        # A space also separates words: it counts only if nothing else separates the records. And a fitting header has priority
        # over skipped lines: a;b is not a title above 1,5;2,5.
        layout, regular = found[candidate]
        return candidate != " ", -layout.skipped, round(regular, 1), candidate == preferred, layout.width

    return found[max(regular_ones, key=rank)][0]


def _layout(text: str, separator: str, whole: bool, *, guessed: bool) -> tuple[Layout, float]:
    """The layout with a separator, and the share of records with as many cells as the header; 0 without a header."""
    spaced = separator not in " \t" and text.count(f"{separator} ") >= _SPACED * text.count(separator) > 0
    spaced = spaced or (separator not in " \t" and f'{separator} "' in text)
    lines = text.split("\n", 20)[:20]
    single = '"' not in text and all(line.startswith("'") and f"'{separator}'" in line for line in lines if line.strip())
    layout = Layout(separator, 1, 0, guessed, spaced, quote="'" if single else '"')
    records = _records(text, layout, whole)
    if separator == "\t" and any("\t" in cell and "\n" in cell for record in records for cell in record):
        layout = replace(layout, quoted=False)  # a single quotation mark would swallow lines
        records = _records(text, layout, whole)
    return _shape(layout, records)


def layout_of_records(records: list[list[str]]) -> Layout:
    """The layout of records that are split into cells already (a sheet). Leave out empty records first."""
    return _shape(Layout("", 1, 0, guessed=False), records[:_SAMPLE_RECORDS])[0]


def _shape(layout: Layout, records: list[list[str]]) -> tuple[Layout, float]:
    """The layout with header line and width, and the share of records with this width."""
    if not records:
        return layout, 0.0
    skipped = _above_header(records, Counter(map(len, records[1:] or records)).most_common(1)[0][0])
    header, rest = records[skipped], records[skipped + 1 :]
    if not rest:
        return replace(layout, width=len(header), skipped=skipped), float(len(header) > 1)
    width = Counter(map(len, rest)).most_common(1)[0][0]
    usual = [record for record in rest if len(record) == width]
    regular = len(usual) / len(rest)
    if len(header) == width - 1 and all(
        not record[-1].strip() for record in usual
    ):  # an extra separator at the end of each row
        width -= 1
    elif len(header) == width - 1:  # as R writes it: the column of row names has no name
        if len(header) < 2 and not all(record[0].strip().isdigit() for record in usual):
            return replace(layout, width=1, skipped=skipped), 0.0
    elif len(header) > width:
        width = len(header) if header[-1].strip() or len(header) > width + 1 else width
    elif len(header) < width:
        return replace(layout, width=len(header), skipped=skipped), 0.0
    return replace(layout, width=width, skipped=skipped), regular


def _records(text: str, layout: Layout, whole: bool) -> list[list[str]]:
    """The first records that are not empty, without the last one if the text is cut."""
    found: list[list[str]] = []
    with long_cells(), suppress(csv.Error):
        for record in layout.reader(io.StringIO(text, newline="")):
            if any(cell.strip() for cell in record):
                found.append(record)
            if len(found) == _SAMPLE_RECORDS:
                return found
    return found if whole or len(found) == 1 else found[:-1]


def _above_header(records: list[list[str]], width: int) -> int:
    """Number of records above the header: titles and remarks with one cell, or with fewer cells than the rows."""
    for place, record in enumerate(records[: min(_PREAMBLE, len(records) - 1)]):
        cells = [cell for cell in record if cell.strip()]
        below = records[place + 1]
        title = len(cells) == 1 and (width > 2 or (width == 2 and not any(as_number(cell) is not None for cell in below)))
        few = len(record) < width - 1
        mark = "".join(record).lower().startswith("sep=") and len("".join(record)) <= 5
        if not (title or few or mark):
            return place
    return 0
