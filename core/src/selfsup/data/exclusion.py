"""One process at a time, and no trace of those that were killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from selfsup.files import storage_errors


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process makes this store. Where files cannot be locked, both make one and the first wins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with storage_errors(lock):
        file = lock.open("w")
    with file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def temporary_folder(folder: Path, key: str) -> Path:
    """Where this process makes what will be called ``key``: a hidden name that says whose it is."""
    return folder / f".{key}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp"


def remove_remains(folder: Path, key: str) -> None:
    """Remove what killed processes of this machine left of this store."""
    for left in folder.glob(f".{key}.*.tmp"):
        parts = left.name.split(".")
        host, pid = ".".join(parts[2:-3]), parts[-3]
        if host == socket.gethostname() and not _lives(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
