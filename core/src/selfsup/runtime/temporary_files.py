"""Make temporary files and folders beside what they are to become, and remove what killed processes left of theirs."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CAN_LOCK = importlib.util.find_spec("fcntl") is not None
"""Whether the system can lock files (not Windows)."""
_ENDING = ".tmp"
_TEMPORARY = re.compile(r"\.(.+)\.([0-9a-f]{8})\.([0-9]+)-[0-9a-f]{8}\.tmp", re.DOTALL)
"""The names of :func:`temporary_path`: the name to become, the machine and the process. Other hidden files are the user's."""


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
