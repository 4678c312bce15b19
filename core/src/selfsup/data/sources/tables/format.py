"""The format of a text table: separator, header, encoding and decimal mark, given or detected."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import field_validator

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.validation import validated

_NAMED_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}


class TableFormat(Config):
    """The format of tables that are read as text or as sheets; what is left empty is found in the file and shown."""

    separator: str = ""
    """One character between two cells, or ``tab`` or ``space`` (of any number); empty: found among , ; tab | and space."""
    decimal: Literal["", ".", ","] = ""
    """What begins the fraction of a number; the other one, spaces and apostrophes may part thousands. Empty: found."""
    encoding: str = ""
    """Of texts, such as ``cp1252``, ``utf-16``, ``gb18030``; empty: UTF-8, UTF-16 or Western European (cp1252), as found."""
    header: bool = True
    """Whether the first line names the columns; without one they are called ``column_0``, ``column_1``, ..."""
    sheet: str = ""
    """Name of the sheet of a workbook; empty: the first."""

    @field_validator("separator")
    @classmethod
    def _one_character(cls, value: str) -> str:
        found = _NAMED_SEPARATORS.get(value.lower(), value)
        if len(found) > 1 or found in ('"', "\n", "\r"):
            raise ValueError(f"{value!r} is not one character, nor one of {', '.join(_NAMED_SEPARATORS)}")
        return found

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        if value:
            try:
                codecs.lookup(value)
            except LookupError:
                raise ValueError(f"{value!r} is no encoding; some are utf-8, cp1252, utf-16, gb18030") from None
        return value

    @classmethod
    def of(cls, value: Self | Mapping[str, Any] | None) -> Self:
        """A format as callers give it.

        Raises:
            ConfigError: a key or a value is not allowed.
        """
        return value if isinstance(value, cls) else validated(cls, dict(value or {}), what="the table's format")

    def refuse(self, what: str, *, but: tuple[str, ...] = ()) -> None:
        """Refuse options that nothing would follow.

        Args:
            what: what they are of no use for, as a message calls it.
            but: fields that are of use.

        Raises:
            ConfigError: another field is given.
        """
        for key in self.given:
            if key not in but:
                flag = "--no-header" if key == "header" else f"--{key}"
                raise ConfigError(f"{flag} says nothing of {what}: leave it out.")

    def where_of_use(self) -> TableFormat:
        """The same, but passed over without a word by sources that it says nothing of: for the second source of a command."""
        return _WhereOfUse(**self.given)

    @property
    def given(self) -> dict[str, Any]:
        """What is not left to be found."""
        return self.model_dump(exclude_defaults=True)


class _WhereOfUse(TableFormat):
    """A format that is followed where it can be."""

    def refuse(self, what: str, *, but: tuple[str, ...] = ()) -> None:
        """Refuse nothing."""
