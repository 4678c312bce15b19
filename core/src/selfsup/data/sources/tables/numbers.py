"""Parse numbers as people write them: currency signs, thousands separators, per cent, decimal comma, marks for missing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

MISSING_NUMBERS = (
    "", "-", "--", "\u2013", "\u2014", ".", "?", "NA", "N/A", "n/a", "na", "N.A.", "n.a.", "#N/A", "#NA", "<NA>", "NaN",
    "nan", "NAN", "-nan", "-NaN", "null", "NULL", "Null", "None", "none", "NONE", "#VALUE!", "#DIV/0!", "#REF!",
    "1.#IND", "1.#QNAN", "-1.#IND",
)  # fmt: skip
"""Marks of missing values in a column of numbers; in a column of words some of them are words."""

_CODES = "USD|EUR|GBP|JPY|CNY|RMB|CHF|CAD|AUD|NZD|INR|BRL|MXN|ZAR|KRW|SEK|NOK|DKK|PLN|CZK|HUF|RON|TRY|RUB|UAH|ILS|AED|SAR|THB|IDR|HKD|SGD|Rs\\.?|kr\\.?|zł|Kč|Ft|lei"  # fmt: skip  # noqa: E501
_BEFORE = re.compile(rf"(?:{_CODES})\s+(?=[-+\d.,])|(?:US|CA|AU|NZ|HK|[ACRS])(?=\$)")
_AFTER = re.compile(rf"(?<=[\d.,])\s+(?:{_CODES})$")
_SPACES = "  \u2009\u202f'\u2019"


def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    mark = re.escape(decimal)
    grouped = rf"\d{{1,3}}(?P<sep>[{re.escape(thousands + _SPACES)}])\d{{2,3}}(?:(?P=sep)\d{{2,3}})*"
    return re.compile(rf"(?P<whole>{grouped}|\d+|(?={mark}\d))(?P<fraction>{mark}\d*)?(?P<exponent>[eE][+-]?\d+)?")


_PATTERNS = {".": _pattern(".", ","), ",": _pattern(",", ".")}


def _sure(mark: str, other: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\d)0{mark}\d|{mark}(?:\d{{1,2}}|\d{{4,}})(?![\d.,])|{other}\d{{3}}{mark}\d")


_SURE = {".": _sure(r"\.", ","), ",": _sure(",", r"\.")}
"""Forms that only a fraction has: ``0,5``, ``1,25``, ``1,2345`` and ``1.234,5`` for a comma."""


@lru_cache(maxsize=1 << 16)
def as_number(text: str, decimal: str = ".") -> float | None:
    """The number in a text, or None if it is not a number.

    ``12 %`` is 12, and a number in brackets is negative (accounting).

    Args:
        text: such as ``-1,234.5``, ``$1,000``, ``1 000 EUR``, ``(5.00)``, ``12 %``, ``1e-3``, ``inf``.
        decimal: the decimal mark, ``.`` or ``,``. The other one, spaces and apostrophes may separate thousands.
    """
    text = text.strip()
    if decimal == ".":
        try:
            return float(text) if "_" not in text else None
        except ValueError:
            pass
    sign = 1.0
    if text.startswith("(") and text.endswith(")"):
        sign, text = -1.0, text[1:-1].strip()
    text = _bare(text.replace("\u2212", "-")).removesuffix("%").rstrip()
    if text.startswith(("+", "-")):
        sign, text = (-sign if text[0] == "-" else sign), _bare(text[1:])
    match = _PATTERNS[decimal].fullmatch(text)
    if match is None:
        return float(text) * sign if text.lower() in ("inf", "infinity") else None
    whole, part = match["whole"], match["sep"]
    if part is not None:
        first, *between, last = whole.split(part)
        sizes = {len(group) for group in between}
        if len(last) != 3 or (sizes - {3} and (sizes != {2} or part != ",")):  # groups of two digits in India
            return None
        whole = first + "".join(between) + last
    fraction = "." + match["fraction"][1:] if match["fraction"] else ""
    digits = whole + fraction
    return sign * float(digits + (match["exponent"] or "")) if digits.strip(".") else None


def _bare(text: str) -> str:
    """A number without currency sign or name."""
    text = _AFTER.sub("", _BEFORE.sub("", text.strip(), count=1))
    return "".join(letter for letter in text if unicodedata.category(letter) != "Sc").strip()


def sure_marks(text: str) -> str:
    """Which of ``.`` and ``,`` must be a decimal mark in this text: none, one or both."""
    return "".join(mark for mark, pattern in _SURE.items() if pattern.search(text))


@dataclass
class NumberEvidence:
    """Whether the distinct texts of a column are numbers, and with which decimal mark; fed part by part."""

    possible: set[str] = field(default_factory=lambda: {".", ","})
    """Decimal marks with which all texts so far are numbers."""
    sure: set[str] = field(default_factory=set)
    """Decimal marks that some text proves."""

    def feed(self, texts: Iterable[str]) -> None:
        """Learn from more texts; returns early once they cannot all be numbers."""
        for text in texts:
            for mark in tuple(self.possible):
                if as_number(text, mark) is None:
                    self.possible.discard(mark)
            if not self.possible:
                return
            self.sure.update(sure_marks(text))

    def decimal(self, preferred: str = "") -> str:
        """The decimal mark, ``preferred`` if both are possible; empty if not all texts are numbers."""
        likely = [mark for mark in (".", ",") if mark in self.possible and mark in self.sure]
        if len(likely) == 1 and len(self.sure) == 1:
            return likely[0]
        if preferred in self.possible:
            return preferred
        return next((mark for mark in (".", ",") if mark in self.possible), "")


def decimal_of(texts: Iterable[str], preferred: str = "") -> str:
    """The decimal mark with which all texts are numbers, or empty; see :class:`NumberEvidence`."""
    evidence = NumberEvidence()
    evidence.feed(texts)
    return evidence.decimal(preferred)
