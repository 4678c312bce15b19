"""Read files that may be damaged or made to do harm, with errors that name the file, the reason and what to do."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from selfsup.errors import SelfsupError

if TYPE_CHECKING:
    import numpy as np

_REASON_LETTERS = 300


def parse_json(content: str | bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no JSON.
    """
    return parse_json(path.read_bytes())


def read_npy(file: BinaryIO, *, mapped: bool = False) -> np.ndarray[Any, Any]:
    """The array of an npy file, from its beginning. Nothing in it is executed, and no memory is taken for what it lacks.

    Args:
        file: open for reading.
        mapped: leave the numbers on the disk until they are looked at; the array can then not be changed.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no array, Python objects, or fewer numbers than its header says.
    """
    import numpy as np

    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        of_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = of_header(file)
        promised, left = math.prod(shape) * dtype.itemsize, size - file.tell()
        if min(shape, default=0) < 0 or (promised > left and not dtype.hasobject):
            raise ValueError(f"its header promises {shape} of {dtype}, and {left} bytes follow")
        if mapped and promised and not dtype.hasobject:
            return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape, "F" if by_columns else "C"))
        file.seek(0)
        array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError):
        raise
    except Exception as error:  # its header is Python's own syntax, and the parser raises errors of many kinds
        raise ValueError(short_reason(error)) from error
    return array


def short_reason(error: BaseException) -> str:
    """An error of another library for a message: its kind and the first line of its text."""
    first = next(iter(str(error).strip().splitlines()), "")
    shown = first if len(first) <= _REASON_LETTERS else first[:_REASON_LETTERS] + " ..."
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def of_machine(error: BaseException) -> bool:
    """Whether an error tells of too little memory, or of a lost process of the run, and not of a damaged file."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or kinds & {"OutOfMemoryError", "DistError"}:  # of torch, which may not be imported
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("gloo", "nccl"))


@contextmanager
def reading(path: Path | str, kind: type[SelfsupError], advice: str, *, what: str = "") -> Iterator[None]:
    """Turn whatever reading a damaged file raises inside into one error that names the file, the reason and what to do.

    Args:
        path: of the file or folder.
        kind: of the error.
        advice: what to do, as a sentence.
        what: what it should be, such as ``a result record``; empty: it is not named.
    """
    try:
        yield
    except SelfsupError:
        raise
    except Exception as error:  # parsers, and code that meets values of another kind than it wrote
        if of_machine(error):
            raise
        state = f"is not {what} or is damaged" if what else "is damaged"
        raise kind(f"{path} {state} ({short_reason(error)}). {advice}") from error
