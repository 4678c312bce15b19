"""Read sheets of workbooks (xlsx, xls, xlsb, ods) as text, then as a csv file."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.separators import Layout, layout_of_records
from selfsup.errors import SourceError
from selfsup.runtime.findings import Findings, listed_names

WORKBOOKS = (".xlsx", ".xls", ".xlsb", ".ods")


class SheetTable:
    """The records of one sheet."""

    def __init__(self, file: Path, form: TableFormat) -> None:
        self.name = str(file)
        workbook = _open(file)
        sheets = list(workbook.sheet_names)
        if form.sheet and form.sheet not in sheets:
            raise SourceError(f"{file} has no sheet {form.sheet!r}; it has {', '.join(sheets)}.")
        self._sheets, self._sheet = sheets, form.sheet or sheets[0]
        rows = workbook.get_sheet_by_name(self._sheet).to_python(skip_empty_area=True)
        self._records = [[_text(cell) for cell in row] for row in rows]
        self.layout: Layout = layout_of_records([record for record in self._records if any(record)])

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Row numbers, counted from the first row that is not empty, and cells."""
        yield from enumerate(self._records, 1)

    def is_regular(self, _: int) -> bool:
        """Never, since the cells are already read."""
        return False

    def findings(self) -> Findings:
        """The sheet."""
        found = Findings()
        others = [name for name in self._sheets if name != self._sheet]
        also = f", of {len(self._sheets)} (others: {listed_names(others)}; --sheet chooses)" if others else ""
        found.add("sheet", f"{self._sheet!r}{also}")
        return found


def _open(file: Path) -> Any:
    try:
        import python_calamine
    except ImportError:
        raise SourceError(f'{file} is a workbook, which needs python-calamine: pip install "selfsup[xlsx]".') from None
    try:
        return python_calamine.CalamineWorkbook.from_path(str(file))
    except Exception as error:  # the library has many kinds of errors
        raise SourceError(f"Cannot read {file} as a workbook: {error}") from error


def _text(cell: Any) -> str:
    """A cell as in a csv file."""
    if isinstance(cell, bool):
        return "True" if cell else "False"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat() if cell.time() == datetime.time() else cell.isoformat(sep=" ")
    if isinstance(cell, datetime.timedelta):
        return str(cell.total_seconds())
    return cell.isoformat() if isinstance(cell, datetime.date | datetime.time) else str(cell)
