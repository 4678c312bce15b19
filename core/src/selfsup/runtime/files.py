"""Write files atomically, and turn disk errors into helpful messages."""

from __future__ import annotations

import ctypes
import datetime
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeGuard

from selfsup.errors import StorageError
from selfsup.runtime.temporary_files import temporary_file, temporary_path

SCRATCH_HINT = "The variable TMPDIR names another folder for temporary files."
_FULL = re.compile(r"\d+ requested and \d+ written|Not enough disk space\..*", re.DOTALL)
"""How NumPy and datasets say that a disk is full, without the system's number of the error."""
_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another disk",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "permission is denied; choose another place or change its permissions",
    errno.EPERM: "permission is denied; choose another place or change its permissions",
}


@contextmanager
def storage_errors(path: Path, *, hint: str = "") -> Iterator[None]:
    """Turn an ``OSError`` inside into a :class:`StorageError` that names ``path``, the reason and ``hint``."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error, hint=hint) from error


def storage_error(path: Path, error: OSError, *, hint: str = "") -> StorageError:
    """The :class:`StorageError` that says why ``path`` could not be written."""
    reason = _REASONS.get(_number(error), error.strerror or str(error))
    message = f"Cannot write {path}: {reason}."
    return StorageError(f"{message} {hint}" if hint else message)


def is_of_storage(error: BaseException) -> TypeGuard[OSError]:
    """Whether an error says that a disk is full, over its quota or read-only."""
    return isinstance(error, OSError) and _number(error) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _number(error: OSError) -> int:
    if error.errno is None and _FULL.fullmatch(str(error)):
        return errno.ENOSPC
    return error.errno or 0


def atomic_write(path: str | Path, content: bytes | str | Callable[[BinaryIO], object]) -> Path:
    """Write a file so that readers see the old content or the new one, also after a crash at any moment.

    Args:
        path: of the file; a missing folder is made.
        content: bytes, a text (UTF-8), or a function that writes to the open file.

    Returns:
        ``path``.

    Raises:
        StorageError: the disk is full or cannot be written. The old content stays.
    """
    path = Path(path)
    with storage_errors(path):
        with temporary_file(path) as temporary:
            with temporary.open("wb") as file:
                if isinstance(content, str):
                    file.write(content.encode())
                elif isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        sync_directory(path.parent)
    return path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in the system's place for temporary files, removed at the end.

    Raises:
        StorageError: it cannot be made or written; an ``OSError`` inside is taken for that.
    """
    place = Path(tempfile.gettempdir())
    with storage_errors(place, hint=SCRATCH_HINT), tempfile.TemporaryDirectory(prefix="selfsup-") as name:
        yield Path(name)


def give_name(temporary: Path, path: Path) -> None:
    """Rename a complete file to ``path``, its content on the disk first: some disks are found to be full only then."""
    _sync_file(temporary)
    temporary.replace(path)
    sync_directory(path.parent)


def give_folder_name(temporary: Path, path: Path) -> None:
    """Rename a complete folder to ``path``, its files on the disk first; a folder of that name is replaced.

    On Linux the two change names in one step, so that the name is always there; elsewhere it is missing for an instant.
    """
    for file in temporary.rglob("*"):
        if file.is_file():
            _sync_file(file)
    if not path.exists():
        temporary.rename(path)
    elif not _exchanged(temporary, path):
        old = temporary_path(path)
        path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old)
    sync_directory(path.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system exchanged two names: ``renameat2`` with ``RENAME_EXCHANGE``, which Python does not have."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return swap is not None and swap(-100, os.fsencode(one.absolute()), -100, os.fsencode(other.absolute()), 2) == 0


def _sync_file(path: Path) -> None:
    """Make the content of a file durable; Windows does so only where the file is open for writing."""
    try:
        file: BinaryIO = path.open("r+b")
    except PermissionError:  # a copy of a read-only file
        file = path.open("rb")
    with file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a folder durable, if the file system can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def utc_now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
