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
    """Options of :class:`~selfsup_tabular.processor.TableProcessor`. Lists may be written with commas: ``a,b``."""

    numeric: Names = ()
    """Columns to take as numbers, whatever they look like."""
    categorical: Names = ()
    """Columns to take as categories, whatever they look like."""
    dates: Names = ()
    """Columns to take as points in time: dates, timestamps or texts (ISO 8601, 31/12/2024, ...)."""
    drop: Names = ()
    """Columns to leave out."""
    scaling: Scaling = "standard"
    """Numbers become standard scores (standard; SCARF's), normal scores of their ranks (quantile), or stay (none)."""
    quantiles: int = Field(default=256, ge=2)
    """Most knots of the quantile scaling; ranks between them are interpolated."""
    max_categories: int = Field(default=1000, ge=1)
    """Most categories of a column with a code of their own; the rarer ones share the code of unknown ones."""
    min_count: int = Field(default=1, ge=1)
    """Rows in which a category must occur to have a code of its own."""
    missing_values: Names = ("", "?", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL")
    """Texts that stand for a missing value in every column, once white space is cut off. ``NA`` and ``None`` may be words."""
    missing_numbers: Names = ()
    """Texts that do in columns of numbers and dates, beside the usual ones: ``-``, ``?``, ``NA``, ``None``, ..."""
    decimal: Literal["", ".", ","] = ""
    """What begins the fraction of numbers that are texts; empty: found, column by column."""
    date_format: str = ""
    """Form of dates that are texts, such as ``%m/%d/%Y``, without a time of day; empty: found, column by column."""
    absent_columns: Literal["error", "missing"] = "error"
    """Whether a table without one of the columns is refused, or taken as if all values of it were missing."""
    fit_rows: int = Field(default=100_000, ge=100)
    """About so many rows, sampled evenly, are what scales and categories are learned from; at least 100."""

    unknown_rate: float = Field(default=0.01, ge=0, lt=1)
    """Share of the categories (0 to 1) that training shows as unknown, others in each epoch, so that these are learned."""
    missing_rate: float = Field(default=0.01, ge=0, lt=1)
    """Share of the cells (0 to 1) that training shows as missing, others in each epoch, so that these are learned."""

    @model_validator(mode="after")
    def _check_kinds(self) -> Self:
        seen: dict[str, str] = {}
        for option in ("numeric", "categorical", "dates", "drop"):
            for name in getattr(self, option):
                if name in seen:
                    raise ValueError(f"column {name!r} is named by {seen[name]!r} and by {option!r}; one of them must go")
                seen[name] = option
        return self

    @property
    def number_markers(self) -> frozenset[str]:
        """Texts that stand for a missing number or date."""
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
