"""Write files atomically, and turn disk errors into helpful messages."""

from __future__ import annotations

import ctypes
import datetime
import errno
import functools
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeGuard

from selfsup.errors import StorageError

CAN_LOCK = importlib.util.find_spec("fcntl") is not None
"""Whether the system can lock files (not Windows)."""
SCRATCH_HINT = "The variable TMPDIR names another folder for temporary files."
_ENDING = ".tmp"
_TEMPORARY = re.compile(r"\.(.+)\.([0-9a-f]{8})\.([0-9]+)-[0-9a-f]{8}\.tmp", re.DOTALL)
"""The names of :func:`temporary_path`: the name to become, the machine and the process. Other hidden files are the user's."""
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
def temporary_file(path: Path) -> Iterator[Path]:
    """Make an empty hidden file beside ``path``, to fill and rename (:func:`give_name`); at the end, remove it if it is there.

    The file is locked meanwhile. Before its first use of a folder, a process removes what killed ones of this machine left.

    Raises:
        OSError: the file cannot be made; callers say by :func:`storage_errors` what they wanted to write.
    """
    with _temporary(path, folder=False) as temporary:
        yield temporary


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """As :func:`temporary_file`, with a folder."""
    with _temporary(path, folder=True) as temporary:
        yield temporary


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


def is_temporary(path: Path) -> bool:
    """Whether a name is one of :func:`temporary_file` or :func:`temporary_folder`."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_remains(folder: Path, name: str = "", *, any_machine: bool = False) -> None:
    """Remove temporary files and folders of dead processes.

    Args:
        folder: that they are in; it may be missing.
        name: of the file or folder that they were to become; empty: any.
        any_machine: also those of other machines, whose locks may not be seen here; only for who holds the lock of the folder.
    """
    with suppress(OSError):
        for left in [Path(entry.path) for entry in os.scandir(folder) if entry.name.startswith(f".{name}")]:
            made = _TEMPORARY.fullmatch(left.name)
            if made and name in ("", made[1]) and (any_machine or made[2] == _machine()):
                _remove_if_free(left)


def lock_descriptor(descriptor: int) -> bool | None:
    """Whether this process gets the lock of an open file or folder now; None: the system cannot lock it."""
    if not CAN_LOCK:
        return None
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@functools.cache
def _remove_remains_once(folder: Path, process: int) -> None:
    """Look through a folder once for each process: it may have very many files."""
    remove_remains(folder)


@contextmanager
def _temporary(path: Path, *, folder: bool) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains_once(path.parent.absolute(), os.getpid())
    temporary, descriptor = _made(path, folder)
    try:
        yield temporary
    finally:
        if folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _made(path: Path, folder: bool) -> tuple[Path, int | None]:
    """A new temporary file or folder, and a descriptor that holds its lock."""
    while True:
        temporary = temporary_path(path)
        if folder:
            temporary.mkdir()
        else:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        if not CAN_LOCK:
            return temporary, None
        import fcntl

        with suppress(FileNotFoundError):  # another process took it for remains before it was locked
            descriptor = os.open(temporary, os.O_RDONLY)
            with suppress(OSError):  # the file system may have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _names(temporary, descriptor):
                return temporary, descriptor
            os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_if_free(left: Path) -> None:
    """Remove a temporary file or folder unless a process holds its lock; without locks, unless its process is alive."""
    if not CAN_LOCK:
        pid = left.name.removesuffix(_ENDING).rpartition(".")[2].partition("-")[0]
        if pid.isdigit() and not alive(int(pid)):
            _remove(left)
        return
    with suppress(OSError):
        descriptor = os.open(left, os.O_RDONLY)
        try:
            if lock_descriptor(descriptor):
                _remove(left)
        finally:
            os.close(descriptor)


def _remove(left: Path) -> None:
    if left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process runs on this machine; on Windows, where signal 0 is Ctrl-C, each is taken to."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def temporary_path(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process or thread uses; it tells machine and process."""
    return path.with_name(f".{path.name}.{_machine()}.{os.getpid()}-{secrets.token_hex(4)}{_ENDING}")


@functools.cache
def _machine() -> str:
    """Eight hexadecimal digits that tell this machine from others; containers have names of their own."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


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
