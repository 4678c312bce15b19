"""Read a ``.npy`` or ``.npz`` file as a data set: an array of rows, or named arrays."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.sources.layout import SPLIT_OF, splits_in
from selfsup.data.sources.tables.encodings import LEAST_BOMB, MOST_RATIO
from selfsup.errors import SourceError

NPY_MAGIC = b"\x93NUMPY"
ARRAY_SUFFIXES = (".npy", ".npz")


def read_arrays(path: Path) -> Any:
    """The content of a file: an array, a dict of arrays by name, or a dict from splits to such dicts.

    Arrays with a split in their name (``x_train``, ``test_labels``) belong to that split. Nothing in the file is executed.

    Raises:
        SourceError: it is damaged, or holds Python objects.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(6)
    if head != NPY_MAGIC if suffix == ".npy" else not zipfile.is_zipfile(path):
        raise SourceError(f"{path} is no {suffix[1:]} file of NumPy, despite its name.")
    try:
        if suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        refuse_bomb(path)
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except Exception as error:  # zip, zlib and NumPy raise many kinds of errors
        if "allow_pickle" in str(error):
            raise SourceError(
                f"{path} holds Python objects, and reading these could run any code: save arrays of numbers, such as "
                "np.savez(path, images=images, labels=labels)."
            ) from error
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"Cannot read {path} as {path.suffix[1:]}: {type(error).__name__}: {error}") from error
    parts: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        words = re.split(r"[_\-./]", name.lower())
        split = next((SPLIT_OF[word] for word in words if word in SPLIT_OF), "")
        rest = "_".join(word for word in words if word not in SPLIT_OF)
        parts.setdefault(split, {})[rest or name if split else name] = array
    if set(parts) == {""}:
        return arrays
    parts.pop("", None)
    return parts


def refuse_bomb(path: Path) -> None:
    """Refuse a zip archive whose arrays would fill the memory: they are read as a whole.

    Raises:
        SourceError: it unpacks to far more than data compress to.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(MOST_RATIO * path.stat().st_size, LEAST_BOMB):
        raise SourceError(
            f"{path} unpacks to {unpacked / 1e9:.3g} GB, more than {MOST_RATIO} times its size: it is damaged, or made to "
            "fill the memory. If it is not, save each array as an npy file, which is not read as a whole."
        )


def splits_of_file(path: Path) -> tuple[str, ...]:
    """The splits in the names of a file's arrays, without reading the arrays."""
    if path.suffix.lower() != ".npz":
        return ()
    try:
        with np.load(path, allow_pickle=False) as loaded:
            words = {word for name in loaded.files for word in re.split(r"[_\-./]", name.lower())}
    except Exception:  # reported when the file is read
        return ()
    return tuple(splits_in(dict.fromkeys(word for word in words if word in SPLIT_OF)))
