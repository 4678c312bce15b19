"""Columns of evaluated rows other than the text: second sentences, scores, tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from selfsup.data import Rows, describe_columns, feature_fits
from selfsup.errors import ColumnError
from selfsup.evaluation import Split


def rows_of(split: Split, evaluator: str) -> Rows:
    """The rows of a split.

    Raises:
        ColumnError: it has none (it was made of processed samples).
    """
    if split.rows is None:
        raise ColumnError(f"The evaluator {evaluator!r} reads other columns than the text, but these samples have no rows.")
    return split.rows


def choose_column(rows: Rows, given: str, *, fits: Callable[[Any], bool], names: Sequence[str], what: str, option: str) -> str:
    """Find the column for a purpose: the user's, else the first with a usual name, else the only one that fits.

    Args:
        rows: to search.
        given: the user's column, or empty.
        fits: whether a feature type is suitable.
        names: usual names, in order.
        what: the content, for messages.
        option: the evaluator's option that names it, for messages.

    Raises:
        ColumnError: no or several columns fit, or the given one does not.
    """
    features: dict[str, Any] = rows.dataset.features
    listed = describe_columns(features)
    if given:
        if given not in features:
            raise ColumnError(f"{rows.name} has no column {given!r} with {what}. Its columns are {listed}.")
        if not fits(features[given]):
            raise ColumnError(f"Column {given!r} of {rows.name} cannot hold {what}. Its columns are {listed}.")
        return given
    taken = set(rows.columns.values())
    fitting = [column for column, feature in features.items() if column not in taken and fits(feature)]
    usual = next((name for name in names if name in fitting), None)
    if usual is not None:
        return usual
    if len(fitting) == 1:
        return fitting[0]
    found = f"several could hold {what}: {', '.join(fitting)}" if fitting else f"none holds {what}"
    raise ColumnError(f"Of the columns of {rows.name} {found}. Name one with --set {option}=COLUMN. The columns are {listed}.")


def values_of(split: Split, column: str) -> list[Any]:
    """The column's value for each sample of the split's store, as plain Python values."""
    assert split.rows is not None
    view = split.rows.dataset.select_columns([column]).with_format("arrow")
    values: list[Any] = view[:].column(column).to_pylist()
    return [values[int(i)] for i in split.store.kept]


def is_text(feature: Any) -> bool:
    """Whether a column holds strings."""
    return feature_fits(feature, "string")


def is_number(feature: Any) -> bool:
    """Whether a column holds numbers."""
    return feature_fits(feature, "number")


def is_list(feature: Any) -> bool:
    """Whether a column holds lists."""
    return feature_fits(feature, "list")
