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
    """The format of text tables and sheets; empty fields are detected in the file and shown."""

    separator: str = ""
    """One character between two cells, or ``tab`` or ``space`` (any number); empty: one of , ; tab | and space is detected."""
    decimal: Literal["", ".", ","] = ""
    """Decimal mark; the other mark, spaces and apostrophes may separate thousands. Empty: detected."""
    encoding: str = ""
    """Of texts, such as ``cp1252``, ``utf-16``, ``gb18030``; empty: UTF-8, UTF-16 or Western European (cp1252) is detected."""
    header: bool = True
    """Whether the first line names the columns; otherwise they are ``column_0``, ``column_1``, ..."""
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
        """Refuse options that have no effect for a source, ``what`` in messages; the fields in ``but`` have an effect.

        Raises:
            ConfigError: another field is given.
        """
        for key in self.given:
            if key not in but:
                flag = "--no-header" if key == "header" else f"--{key}"
                raise ConfigError(f"{flag} has no effect on {what}: leave it out.")

    def where_of_use(self) -> TableFormat:
        """The same, but ignored by sources on which it has no effect: for the second source of a command."""
        return _WhereOfUse(**self.given)

    @property
    def given(self) -> dict[str, Any]:
        """The fields that are not to be detected."""
        return self.model_dump(exclude_defaults=True)


class _WhereOfUse(TableFormat):
    """A format that applies only if it can."""

    def refuse(self, what: str, *, but: tuple[str, ...] = ()) -> None:
        """Refuse nothing."""
