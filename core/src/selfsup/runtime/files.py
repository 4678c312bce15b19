"""Write files atomically, and turn disk errors into helpful messages."""

from __future__ import annotations

import ctypes
import datetime
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from selfsup.errors import StorageError

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
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    message = f"Cannot write {path}: {reason}."
    return StorageError(f"{message} {hint}" if hint else message)


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
        path.parent.mkdir(parents=True, exist_ok=True)
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


def temporary_path(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process or thread uses, to rename to ``path`` once it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Give a :func:`temporary_path`; at the end, remove the file unless it was renamed."""
    temporary = temporary_path(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(new: Path, path: Path) -> None:
    """Give a complete folder the name of another one on the same disk, which is removed.

    On Linux the two change names in one step, so that the name is always there; elsewhere it is missing for an instant.
    """
    if _exchanged(new, path):
        shutil.rmtree(new)
        return
    old = temporary_path(path)
    path.rename(old)
    new.rename(path)
    shutil.rmtree(old)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system exchanged two names: ``renameat2`` with ``RENAME_EXCHANGE``, which Python does not have."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return swap is not None and swap(-100, os.fsencode(one.absolute()), -100, os.fsencode(other.absolute()), 2) == 0


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
