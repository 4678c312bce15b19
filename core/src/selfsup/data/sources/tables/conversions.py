"""Make the cached conversion of a table again where it is damaged, and only there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from selfsup.errors import SelfsupError
from selfsup.runtime.file_lock import waiting_lock
from selfsup.runtime.temporary_files import is_temporary

_MISSING = {None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
"""Error numbers of damage: Arrow reports a file that was cut short as an ``OSError`` without a number."""
_LOCK = "repair.lock"
T = TypeVar("T")


def repaired(read: Callable[[], T], cache: Path) -> T:
    """The result of ``read``; if the conversion that it finds in ``cache`` is damaged, it is deleted and made again.

    One process at a time deletes, after it has read once more, since another may have made the conversion again meanwhile.

    Args:
        read: reads the conversion, and makes what is missing.
        cache: folder of this conversion alone.

    Raises:
        Exception: what ``read`` raises: the error of the table itself, or one that is no damage.
    """
    begun = _has_conversion(cache)
    try:
        return read()
    except SelfsupError:
        raise
    except Exception as error:  # the parsers may raise anything
        if not begun or not is_damage(error):
            raise
    with waiting_lock(cache / _LOCK):
        try:
            return read()
        except SelfsupError:
            raise
        except Exception as error:
            if not is_damage(error):
                raise
        _delete_conversion(cache)
        return read()


def is_damage(error: BaseException) -> bool:
    """Whether reading again cannot help: no error of the chain is one of the system (open files, disk) or of full memory."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno not in _MISSING):
            return False
        cause = cause.__cause__ or cause.__context__
    return True


def _has_conversion(cache: Path) -> bool:
    return any(entry.name != _LOCK and not is_temporary(entry) for entry in cache.iterdir())


def _delete_conversion(cache: Path) -> None:
    """Delete finished files. Locks and what other processes are writing stay: hidden files, and ``datasets``' folders."""
    for path, folders, files in os.walk(cache):
        folders[:] = [name for name in folders if not name.endswith(".incomplete")]
        kept = [name for name in files if name.endswith(".lock") or is_temporary(Path(path, name))]
        if len(kept) < len(files) and Path(path) != cache:
            folders.clear()
            shutil.rmtree(path)  # a finished folder of ``datasets``
            continue
        for name in set(files) - set(kept):
            Path(path, name).unlink(missing_ok=True)
