"""The options of the table processor."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from selfsup.config import Config, idle
from selfsup.data import MISSING_NUMBERS
from selfsup_tabular.columns.kinds import Kind
from selfsup_tabular.columns.scaling import Scaling


def _listed(value: Any) -> Any:
    """``"a, b"`` as ``("a", "b")``."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class TableProcessorConfig(Config):
    """Options of :class:`~selfsup_tabular.processor.TableProcessor`. Lists may be written as ``a,b``."""

    numeric: Names = ()
    """Columns to use as numbers, overriding detection."""
    categorical: Names = ()
    """Columns to use as categories, overriding detection."""
    dates: Names = ()
    """Columns to use as points in time: dates, timestamps or texts (ISO 8601, 31/12/2024, ...)."""
    drop: Names = ()
    """Columns to drop."""
    scaling: Scaling = "standard"
    """Turn numbers into standard scores (standard, as in SCARF), normal scores of ranks (quantile), or keep them (none)."""
    quantiles: int = Field(default=256, ge=2)
    """Most knots of the quantile scaling; ranks between them are interpolated."""
    max_categories: int = Field(default=1000, ge=1)
    """Most categories per column with their own code; rarer ones share the code of unknown categories."""
    min_count: int = Field(default=1, ge=1)
    """Least number of rows of a category with its own code."""
    missing_values: Names = ("", "?", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL")
    """Texts that mark a missing value in every column, without surrounding white space. ``NA`` and ``None`` may be words."""
    missing_numbers: Names = ()
    """More such texts in columns of numbers and dates, in addition to ``-``, ``?``, ``NA``, ``None``, ..."""
    decimal: Literal["", ".", ","] = ""
    """Decimal mark of numbers stored as texts; empty: detect it per column."""
    date_format: str = ""
    """Format of dates stored as texts, such as ``%m/%d/%Y``, without a time of day; empty: detect it per column."""
    absent_columns: Literal["error", "missing"] = "error"
    """What to do if a table lacks a column: raise an error, or treat all of its values as missing."""
    fit_rows: int = Field(default=100_000, ge=100)
    """Approximate number of random rows for learning scales and categories, at least 100."""
    unknown_rate: float = Field(default=0.01, ge=0, lt=1)
    """Share of the categories that training shows as unknown, drawn in each epoch, so that unknown values are learned."""
    missing_rate: float = Field(default=0.01, ge=0, lt=1)
    """Share of the cells that training shows as missing, drawn in each epoch, so that missing values are learned."""

    @model_validator(mode="after")
    def _check_kinds(self) -> Self:
        seen: dict[str, str] = {}
        for option in ("numeric", "categorical", "dates", "drop"):
            for name in getattr(self, option):
                if name in seen:
                    raise ValueError(f"column {name!r} is named by {seen[name]!r} and by {option!r}; remove one of them")
                seen[name] = option
        return self

    @property
    def number_markers(self) -> frozenset[str]:
        """Texts that mark a missing number or date."""
        return frozenset((*MISSING_NUMBERS, *self.missing_values, *self.missing_numbers))

    def kinds(self) -> dict[str, Kind]:
        """Column to its kind."""
        options: dict[Kind, tuple[str, ...]] = {
            "numeric": self.numeric,
            "category": self.categorical,
            "date": self.dates,
            "dropped": self.drop,
        }
        return {name: kind for kind, names in options.items() for name in names}

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle(f"processor.scaling is {self.scaling}", self.scaling != "quantile", "quantiles")
