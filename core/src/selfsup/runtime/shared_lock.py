"""Mark a file as in use by several processes, so that nobody deletes it meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from selfsup.runtime.file_lock import lock_now
from selfsup.runtime.temporary_files import CAN_LOCK


def hold_shared(path: str | Path) -> int | None:
    """A descriptor; while it is open, :func:`is_shared` is true for the file. None: the system cannot lock it."""
    if not CAN_LOCK:
        return None
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_shared(path: str | Path) -> bool:
    """Whether a process holds a file, shared or alone."""
    with try_lock(path) as free:
        return not free


@contextlib.contextmanager
def try_lock(path: str | Path | None) -> Iterator[bool]:
    """Hold a file alone unless others hold it; gives whether it is free. Missing files are free."""
    with contextlib.ExitStack() as stack:
        free = True
        if path is not None and Path(path).exists():
            with contextlib.suppress(OSError):
                free = lock_now(stack.enter_context(Path(path).open("r+"))) is not False
        yield free
