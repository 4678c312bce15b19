"""Read tables in memory: pandas, polars, Arrow, and any object with the Arrow PyCapsule interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.media.encode import is_medium, is_tensor
from selfsup.errors import ColumnError

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec


def is_frame(value: Any) -> bool:
    """Whether ``value`` is a table in memory that offers a stream of Arrow batches."""
    return hasattr(value, "__arrow_c_stream__")


def is_table_in_memory(source: Any, modality: ModalitySpec) -> bool:
    """Whether an object is a table that Arrow can read: not a single column, and without media as Python objects."""
    if not is_frame(source) or is_tensor(source) or type(source).__name__ == "Series":
        return False
    return not ((modality.columns or modality.joins) and _holds_objects(source))


def _holds_objects(frame: Any) -> bool:
    """Whether a table of pandas or polars has columns of Python objects that are media."""
    package = type(frame).__module__.partition(".")[0]
    if package == "pandas":
        columns = [frame[name].dropna() for name in frame.columns if str(frame[name].dtype) == "object"]
        return any(len(column) and not isinstance(column.iloc[0], bytes) and is_medium(column.iloc[0]) for column in columns)
    return package == "polars" and any(str(kind) == "Object" for kind in frame.dtypes)


def arrow_table(frame: Any) -> Any:
    """A table in memory as a ``pyarrow.Table`` of plain columns.

    Dictionaries (categoricals of pandas and polars) are decoded. The index of a pandas frame is dropped, its column names
    become texts, and columns of several types become texts (:func:`arrow_column`).

    Raises:
        ColumnError: two columns have one name.
    """
    import pyarrow as pa

    if type(frame).__module__.partition(".")[0] == "pandas":
        names = [str(name) for name in frame.columns]
        columns = [_of_series(frame.iloc[:, place]) for place in range(len(names))]
    else:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
        names, columns = table.column_names, table.columns
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ColumnError(f"Two columns of the table have one name: {', '.join(twice)}. Rename one.")
    return pa.table([_plain(column) for column in columns], names=names)


def categorical_columns(frame: Any) -> tuple[str, ...]:
    """Columns that a table in memory marks as categories: categoricals of pandas and polars, Arrow dictionaries."""
    import pyarrow as pa

    if type(frame).__module__.partition(".")[0] == "pandas":
        kinds = ((str(name), str(kind)) for name, kind in frame.dtypes.items())
        return tuple(name for name, kind in kinds if kind == "category")
    if not is_frame(frame):
        return ()
    schema = pa.schema(frame.schema) if isinstance(frame, pa.Table) else pa.table(frame).schema
    return tuple(column.name for column in schema if pa.types.is_dictionary(column.type))


def table_of_rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows (dicts of column to value) as a ``pyarrow.Table``; missing entries are null."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table([arrow_column([row.get(name) for row in rows]) for name in names], names=names)


def arrow_column(values: Iterable[Any]) -> Any:
    """Python values as an Arrow array, NaN as null. Values of several types all become texts."""
    import pyarrow as pa

    values = list(values)
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        texts = [None if value is None or value != value else str(value) for value in values]  # NaN is not itself
        return pa.array(texts, type=pa.large_string())


def plain_table(table: Any) -> Any:
    """A ``pyarrow.Table`` without dictionaries and views."""
    import pyarrow as pa

    return pa.table([_plain(column) for column in table.columns], names=table.column_names)


def _of_series(series: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.chunked_array([pa.Array.from_pandas(series)])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.chunked_array([arrow_column(series.tolist())])
    except TypeError:  # an extension type that gives chunks
        return pa.chunked_array(pa.array(series).chunks)


def _plain(column: Any) -> Any:
    """The column without dictionaries and views, which ``datasets`` does not support."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        kind = pa.large_string() if pa.types.is_string_view(column.type.value_type) else column.type.value_type
        parts = [_without_view(chunk.dictionary).take(chunk.indices) for chunk in column.chunks]
        return pa.chunked_array(parts, type=kind)
    if pa.types.is_string_view(column.type):
        return pa.chunked_array([_without_view(chunk) for chunk in column.chunks], type=pa.large_string())
    return column


def _without_view(array: Any) -> Any:
    """The array, with large strings instead of string views."""
    import pyarrow as pa

    if not pa.types.is_string_view(array.type):
        return array
    try:
        return array.cast(pa.large_string())
    except pa.ArrowNotImplementedError:  # before Arrow 18
        return pa.array(array.to_pylist(), type=pa.large_string())
