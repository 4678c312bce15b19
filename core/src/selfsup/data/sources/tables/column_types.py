"""Detect the type of a text column: integer, number, boolean or string."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from selfsup.data.sources.tables.numbers import MISSING_NUMBERS, NumberEvidence, as_number

MISSING_WORDS = ("", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "N/A", "n/a")
"""Marks of missing values in a column of words. ``NA`` and ``None`` are not among them: a country, an answer."""
_INTEGER = r"^[+-]?(0|[1-9][0-9]*)$"
_ZERO_FIRST = r"^[+-]?0[0-9]+$"
_PLAIN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_THOUSANDS = r"^[+-]?[0-9]{1,3}(\.[0-9]{3})+$"
_LONGEST_INTEGER = 18
"""Most digits that always fit a 64-bit integer; longer numbers are ids."""


@dataclass(frozen=True)
class ColumnPlan:
    """How the cells of a column become values."""

    feature: str
    """``int64``, ``float64``, ``bool`` or ``large_string``."""
    decimal: str = ""
    """The decimal mark, if cells are not all in the plain form (digits, a point); else empty."""
    empty: bool = False
    """Whether all cells are empty."""
    written: bool = False
    """Whether numbers have currency signs, per cent signs or thousands separators."""

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.feature in ("int64", "float64")

    def typed(self, cells: Any) -> Any:
        """An Arrow array of texts as an array of values, with null for missing values."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.feature == "large_string":
            missing = pc.is_in(pc.utf8_trim_whitespace(cells), value_set=pa.array(MISSING_WORDS, cells.type))
            return pc.if_else(missing, pa.scalar(None, cells.type), cells)
        texts = pc.utf8_trim_whitespace(cells)
        if self.numeric and not self.decimal:  # only digits and points: Arrow is many times faster
            return pc.utf8_ltrim(_without_marks(texts), characters="+").cast(self.feature)
        coded = texts.dictionary_encode()
        values = [self._value(text) for text in coded.dictionary.to_pylist()]
        return pa.array(values, self.feature).take(coded.indices)

    def _value(self, text: str) -> Any:
        if text in MISSING_NUMBERS:
            return None
        if self.feature == "bool":
            return text.lower() == "true"
        return as_number(text, self.decimal)


@dataclass
class ColumnType:
    """The type of a column, learned from its cells part by part."""

    evidence: NumberEvidence = field(default_factory=NumberEvidence)
    filled: bool = False
    marks: set[str] = field(default_factory=set)
    """Marks of missing values in a column of numbers, without the empty text."""
    integers: bool = True
    zero_first: bool = False
    booleans: bool = True
    plain: bool = True

    def feed(self, cells: Any) -> None:
        """Learn from more cells, an Arrow array of texts."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.filled and not self.evidence.possible and not self.booleans:
            return
        trimmed = pc.utf8_trim_whitespace(cells)
        if self.filled and self.plain and not self.integers and self.evidence.possible == {"."} and _are_floats(trimmed):
            return  # as the cells before
        texts = pc.unique(trimmed)
        missing = pc.is_in(texts, value_set=pa.array(MISSING_NUMBERS, texts.type))
        self.marks |= {mark for mark in texts.filter(missing).to_pylist() if mark}
        texts = texts.filter(pc.invert(missing))
        if not len(texts):
            return
        self.filled = True
        self.booleans &= pc.all(pc.is_in(pc.utf8_lower(texts), value_set=pa.array(["true", "false"], texts.type))).as_py()
        if self.evidence.possible:
            self._feed_numbers(texts)

    def _feed_numbers(self, texts: Any) -> None:
        import pyarrow.compute as pc

        plain = pc.match_substring_regex(texts, _PLAIN)
        whole = pc.match_substring_regex(texts, _INTEGER)
        short = pc.less_equal(pc.utf8_length(texts), _LONGEST_INTEGER)
        self.integers &= pc.all(pc.and_(whole, short)).as_py()
        long = pc.any(pc.and_(whole, pc.invert(short))).as_py()
        self.zero_first |= long or pc.any(pc.match_substring_regex(texts, _ZERO_FIRST)).as_py()
        dotted = texts.filter(pc.and_(plain, pc.match_substring(texts, ".")))
        if len(dotted) and not pc.all(pc.match_substring_regex(dotted, _THOUSANDS)).as_py():
            self.evidence.possible.discard(",")
            self.evidence.sure.add(".")
        others = texts.filter(pc.invert(plain))
        self.plain &= len(others) == 0
        self.evidence.feed(others.to_pylist())

    def is_number(self) -> bool:
        """Whether all cells are numbers so far."""
        return self.filled and bool(self.evidence.possible) and not self.zero_first

    def plan(self, decimal: str, preferred: str) -> ColumnPlan:
        """How the cells become values.

        Args:
            decimal: the decimal mark of all columns, or empty.
            preferred: the decimal mark if the cells do not tell.
        """
        if not self.filled:
            return ColumnPlan("float64", empty=not self.marks)
        if self.booleans:
            return ColumnPlan("bool")
        if not self.is_number():
            return ColumnPlan("large_string")
        if self.integers:
            return ColumnPlan("int64")
        mark = decimal if decimal in self.evidence.possible else "" if decimal else self.evidence.decimal(preferred)
        if not mark:
            return ColumnPlan("large_string")
        simple = self.plain and mark == "."
        comma = mark == "," and "," in self.evidence.sure
        return ColumnPlan("float64", decimal="" if simple else mark, written=not self.plain and not comma)


def _without_marks(texts: Any) -> Any:
    """Null instead of marks of missing numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = pc.is_in(texts, value_set=pa.array(MISSING_NUMBERS, texts.type))
    return pc.if_else(missing, pa.scalar(None, texts.type), texts)


def _are_floats(texts: Any) -> bool:
    """Whether all cells are empty or plain numbers without leading zeros."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(texts, _ZERO_FIRST)).as_py():
        return False
    try:
        pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
