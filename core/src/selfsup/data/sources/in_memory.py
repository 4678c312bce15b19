"""Read objects in memory: arrays, lists, dicts of columns, torch and hub data sets, generators."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.items import LABEL, Record, plain_value, record_of, with_rate
from selfsup.data.sources.media.encode import array_of, is_medium, is_pil, is_tensor
from selfsup.errors import SourceError

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

Array = np.ndarray[Any, Any]
_VALUE_NAMES = ("x", "data", "inputs", "features", "samples", "arr_0", "images", "image", "videos", "audio", "texts", "text")
_LABEL_NAMES = ("label", "labels", "y", "target", "targets", "classes", "arr_1")


@dataclass
class Records:
    """Rows of an object, one by one."""

    rows: Iterator[Record]
    name: str
    """How messages name the source."""
    described: str
    """A description for people."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column to the names of its classes, if it holds class numbers."""
    unreadable: list[str] = field(default_factory=list)
    """A message per item that cannot be read, filled in while rows are read."""


def records(source: Any, modality: ModalitySpec) -> Records:
    """The rows of an object that is neither a text nor a table.

    Args:
        source: an array or tensor of N rows, or a pair of these and their labels; a mapping of columns; a list, generator or
            other iterable of rows; a torch dataset. A row is a value (path, text, PIL image, array), a pair of a value and a
            label, or a dict.
        modality: the kind of data.

    Raises:
        SourceError: it is a single row, or holds no rows.
    """
    role, kind = role_of(modality)
    name = type(source).__name__
    if isinstance(source, str | bytes | bytearray | os.PathLike) or is_pil(source) or source is None:
        raise SourceError(_single(source, modality))
    if (array := array_of(source)) is not None:
        described = f"{'tensor' if is_tensor(source) else 'array'} {list(array.shape)} of {array.dtype}"
        return Records(_rows_of_array(array, role, kind, modality), "the array", described)
    if _are_values_and_labels(source):
        values = source[0]
        columns = {role: values} if role else {f"x{place}": values[:, place] for place in range(values.shape[1])}
        return records({**columns, LABEL: source[1]}, modality)
    _refuse_other_splits(source)
    if name == "DataLoader" and hasattr(source, "dataset"):
        raise SourceError("A DataLoader gives batches, not rows: give its data set, loader.dataset.")
    if isinstance(source, Mapping):
        return Records(_rows_of_columns(source, role, kind, modality), "the columns", f"dict of {', '.join(map(str, source))}")
    if hasattr(source, "features") and not hasattr(source, "__len__"):  # a stream of the datasets library
        return _of_stream(source, role, kind)
    if type(source).__name__ == "Series" and hasattr(source, "to_list"):
        source = source.to_list()
    if type(source).__module__.partition(".")[0] in ("pandas", "polars"):
        listed = source.to_dicts() if hasattr(source, "to_dicts") else source.to_dict("records")
        rows = (record_of(item, place, role, kind) for place, item in enumerate(listed))
        return Records(_with_role(rows, role, kind), f"the {name}", f"{name} of {len(source)} rows")
    names = {LABEL: found} if (found := _class_names(source)) else {}
    unreadable: list[str] = []
    described = f"{name} of {len(source)} items" if isinstance(source, Sized) else f"{name}, read once"
    if not isinstance(source, list | tuple) and isinstance(source, Sized) and hasattr(source, "__getitem__"):
        items: Iterable[Any] = _map_style(source, unreadable)
    elif isinstance(source, Iterable):
        items = source
    else:
        raise SourceError(
            f"A source is a text, a path, a data set, a table, an array, a list or a generator, not {name}: "
            f"{_say_rows(modality)}."
        )
    rows = (record_of(item, place, role, kind) for place, item in enumerate(items))
    return Records(_with_role(rows, role, kind), f"the {name}", described, names, unreadable)


def role_of(modality: ModalitySpec) -> tuple[str, str]:
    """The role of a bare value, and its kind in lower case; empty if every column is a role."""
    return next(((role, kind.lower()) for role, kind in modality.columns.items()), ("", ""))


def _say_rows(modality: ModalitySpec) -> str:
    """Which rows a modality accepts, for messages."""
    if modality.joins:
        return "for rows of several parts give a dict of columns, or a list of dicts"
    return {
        "image": "for images give a list of paths, PIL images or arrays, or an array [N, H, W, C] or [N, C, H, W]",
        "audio": 'for recordings give a list of paths, or of {"array": samples, "sampling_rate": Hz}',
        "video": "for videos give a list of paths or of clips [frames, H, W, 3]",
        "string": "for texts give a list of strings",
        "": "for tables give a DataFrame, a list of dicts, or an array [rows, columns]",
    }.get(role_of(modality)[1], "give a list of rows")


def _are_values_and_labels(source: Any) -> bool:
    """Whether a tuple is ``(X, y)``: an array of N rows, and N labels."""
    if not isinstance(source, tuple) or len(source) != 2 or hasattr(source, "_asdict"):
        return False
    values, labels = (array_of(part) for part in source)
    return values is not None and labels is not None and values.ndim > 1 and labels.ndim == 1 and len(values) == len(labels)


def _refuse_other_splits(source: Any) -> None:
    """Refuse a mapping of data sets whose names are no splits."""
    if isinstance(source, Mapping) and any(hasattr(part, "features") for part in source.values()):
        raise SourceError(
            f"The {type(source).__name__} has the parts {', '.join(map(str, source))}, and none is called train, validation or "
            f"test: give one of them, source[{next(iter(source))!r}]."
        )


def _single(source: Any, modality: ModalitySpec) -> str:
    """The message for a single row."""
    shown = f"{source[:40]!r}" if isinstance(source, str) else f"A single {type(source).__name__}"
    return f"{shown} is one row, not several: put it into a list, [row]; {_say_rows(modality)}."


def _rows_of_array(array: Array, role: str, kind: str, modality: ModalitySpec) -> Iterator[Record]:
    """The rows of an array whose shape fits the modality."""
    if array.dtype.names:
        fields = array.dtype.names
        return _rows_of_columns({field: array[field] for field in fields}, role, kind, modality)
    if array.ndim and not len(array):
        raise SourceError("The array holds no row.")
    shape = array.shape
    wrong = f"An array of shape {shape} and type {array.dtype}"
    if kind == "string":
        if array.ndim != 1 or array.dtype.kind not in "UOT":
            raise SourceError(f"{wrong} is no list of texts: {_say_rows(modality)}.")
        return ({role: value} for value in array.tolist())
    if not kind:
        if array.ndim != 2:
            raise SourceError(f"{wrong} is no table: {_say_rows(modality)}.")
        return (dict(zip((f"x{place}" for place in range(shape[1])), row.tolist(), strict=True)) for row in array)
    if array.dtype.kind in "OUT" and array.ndim == 1:  # arrays of several sizes, or paths
        return (record_of(item, place, role, kind) for place, item in enumerate(array))
    if kind == "audio":
        raise SourceError(
            f'{wrong} has no sampling rate: give {{"audio": array, "sampling_rate": Hz}}, with rows [samples] or [channels, '
            "samples]."
        )
    least = 3 if kind == "image" else 4
    if array.ndim not in (least, least + 1):
        raise SourceError(f"{wrong} is no set of {kind}s: {_say_rows(modality)}. One {kind} goes into a list, [{kind}].")
    colors = (3, 4)
    if array.ndim == least and (shape[-1] in colors or (kind == "image" and shape[0] in colors and shape[0] < min(shape[1:]))):
        raise SourceError(
            f"{wrong} looks like one {kind}, not several: give [{kind}] for one; for {shape[0]} grey ones "
            "give array[..., None]."
        )
    return ({role: row} for row in array)


def _rows_of_columns(source: Mapping[Any, Any], role: str, kind: str, modality: ModalitySpec) -> Iterator[Record]:
    """The rows of a mapping from column to values; a single number or text applies to all rows."""
    columns = {str(key): value if (array := array_of(value)) is None else array for key, value in source.items()}
    listed = {key: value for key, value in columns.items() if _is_column(value)}
    if not listed or (role in columns and role not in listed):
        held = ", ".join(map(repr, columns)) or "nothing"
        raise SourceError(f"A dict of {held} is one row, not several: put it into a list, [row].")
    lengths = {key: len(value) for key, value in listed.items()}
    if len(set(lengths.values())) > 1:
        raise SourceError(f"The columns have several lengths: {', '.join(f'{key} {n}' for key, n in lengths.items())}.")
    if not next(iter(lengths.values())):
        raise SourceError("The columns hold no row.")
    value_name = role if role in listed else next((n for n in _VALUE_NAMES if n in listed), "") if role else ""
    if role and not value_name:
        raise SourceError(f"None of the columns {', '.join(columns)} is the {role!r}: rename one to it.")
    label_name = next((n for n in _LABEL_NAMES if n in listed and n != value_name), "")
    renamed = {value_name: role, label_name: LABEL} if role else {label_name: LABEL}
    fixed = {key: value for key, value in columns.items() if key not in listed}
    if kind in MEDIA and isinstance(values := listed[value_name], np.ndarray) and kind != "audio":
        _rows_of_array(values, role, kind, modality)  # checks the shape

    def rows() -> Iterator[Record]:
        for place in range(next(iter(lengths.values()))):
            record = {renamed.get(key, key): plain_value(value[place]) for key, value in listed.items()}
            record |= fixed
            yield with_rate(record, role) if kind == "audio" else record

    return rows()


def _is_column(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, str | bytes | Mapping)


def _map_style(source: Any, unreadable: list[str]) -> Iterator[Any]:
    """The items of a torch dataset; an item that raises becomes an empty row, and a message."""
    for place in range(len(source)):
        try:
            yield source[place]
        except Exception as error:  # a dataset may raise anything for a damaged file
            if isinstance(error, MemoryError):
                raise
            unreadable.append(f"item {place} of the {type(source).__name__} cannot be read: {type(error).__name__}: {error}")
            yield None


def _class_names(source: Any) -> tuple[str, ...]:
    """The class names of a torchvision dataset, or of a subset of one."""
    while source is not None:
        names = getattr(source, "classes", None)
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
        source = getattr(source, "dataset", None)
    return ()


def _of_stream(stream: Any, role: str, kind: str) -> Records:
    """Rows of an ``IterableDataset`` of the ``datasets`` library, with media not decoded."""
    names = {}
    for column, feature in (stream.features or {}).items():
        if type(feature).__name__.lower() in MEDIA:
            stream = stream.cast_column(column, type(feature)(decode=False))
        if type(feature).__name__ == "ClassLabel":
            names[column] = tuple(feature.names)
    rows = (record_of(item, place, role, kind) for place, item in enumerate(stream))
    name = type(stream).__name__
    return Records(_with_role(rows, role, kind), f"the {name}", f"{name}, read once", names)


def _with_role(rows: Iterator[Record], role: str, kind: str) -> Iterator[Record]:
    """Rows in which the only medium of the first row gets the role, if no column has its name."""
    first = next(rows, None)
    if first is None:
        return
    rows = itertools.chain([first], rows)
    if kind in MEDIA and role not in first:
        media = [name for name, value in first.items() if is_medium(value)]
        if len(media) == 1:
            yield from ({role if name == media[0] else name: value for name, value in row.items()} for row in rows)
            return
    yield from rows
