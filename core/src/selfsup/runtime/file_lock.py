"""Lock a folder for one writer; the lock names its holder and is released when the holder dies.

If files can be locked (``flock``: Linux and macOS, local disks and NFS 4), the system frees the lock of any process that ends.
The file names the process, its machine and its start. The holder also touches the file every few seconds, since some network
file systems do not pass locks between machines: a lock of another machine counts as held as long as this continues. The library
``filelock`` cannot replace this: it has no heartbeat between machines, does not name the holder, and has no shared locks.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from selfsup.errors import InUseError
from selfsup.runtime.files import storage_errors, utc_now
from selfsup.runtime.temporary_files import CAN_LOCK, alive, lock_descriptor

HEARTBEAT_SECONDS = 5.0
"""Interval at which a holder touches its lock."""
SILENT_SECONDS = 60.0
"""A holder on another machine counts as dead after so long without a touch."""


_ADVICE = "Wait for it, or choose another folder (--out)."


@dataclass(frozen=True)
class Holder:
    """The holder of a lock."""

    pid: int
    host: str
    since: str
    """ISO 8601, UTC."""
    what: str
    """Its work: ``pretraining``."""
    boot: str = ""
    """Boot id of the machine's kernel; empty if it has none."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.what}, since {self.since})"

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this machine; containers of a machine share its kernel, not its name."""
        if self.boot and _boot_id():
            return self.boot == _boot_id()
        return self.host == socket.gethostname()


class FileLock:
    """A lock that this process holds until :meth:`release`, or its end.

    Args:
        path: of the lock file; its folder is made.
        what: the work of this process, for the message to others.
        subject: the locked thing, for messages.
        advice: to others, added to the message.

    Raises:
        InUseError: another process (or another thread of this one) holds it; the message says which.
        StorageError: the file cannot be written.
    """

    def __init__(self, path: str | Path, what: str, *, subject: str | Path = "", advice: str = "") -> None:
        self.path = Path(path)
        self._made = list(itertools.takewhile(lambda folder: not folder.exists(), self.path.parents))
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _acquire(self.path, str(subject) or str(self.path.parent), advice)
        self._over = threading.Event()
        holder = Holder(os.getpid(), socket.gethostname(), utc_now(), what, _boot_id())
        with storage_errors(self.path):
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(asdict(holder)))
            self._file.flush()
        _held.add(self)
        threading.Thread(target=self._beat, name="selfsup-lock", daemon=True).start()

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock, and remove its file and the folders that were made only for it."""
        if self._over.is_set():
            return
        self._over.set()
        _held.discard(self)
        # Remove it while it is held: processes that wait for it notice, and make a new one.
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._file.close()
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # not empty
                break

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def _forget(self) -> None:
        """In a forked child: the lock is the parent's."""
        self._over.set()
        self._file.close()


_held: set[FileLock] = set()


def _forget_all() -> None:
    for lock in _held:
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def lock_of(folder: str | Path) -> Path:
    """The lock file of a folder: beside it, since the folder itself may be replaced."""
    folder = Path(folder).expanduser().resolve()
    return folder.with_name(f".{folder.name}.lock")


def lock_folder(folder: str | Path, what: str, *, advice: str = _ADVICE) -> FileLock:
    """Lock a folder, which need not exist, against other writers; ``what`` and ``advice`` as for :class:`FileLock`.

    Raises:
        InUseError: another process holds it.
        StorageError: the lock cannot be written.
    """
    return FileLock(lock_of(folder), what, subject=folder, advice=advice)


def check_not_in_use(folder: str | Path, *, advice: str = _ADVICE) -> None:
    """Raise an :class:`InUseError` if a process holds the lock of a folder now."""
    if (holder := holder_of(lock_of(folder))) is not None:
        raise InUseError(_in_use(str(folder), holder, advice))


def holder_of(path: str | Path) -> Holder | None:
    """The holder of a lock now; None: nobody, or a dead process."""
    path = Path(path)
    try:
        file = path.open("r+")
    except OSError:
        return None
    with file:
        free = lock_now(file)
        if free is False:
            return _holder(file) or Holder(0, "this machine", "just now", "starting")
        return _still_heard(path, file, locks=free is True)


@contextlib.contextmanager
def waiting_lock(path: str | Path) -> Iterator[None]:
    """Wait until no other process holds a lock, and hold it. Does not wait if files cannot be locked."""
    path = Path(path)
    if not CAN_LOCK:
        yield
        return
    import fcntl

    while True:
        with storage_errors(path):
            file = path.open("a+")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, path):
            break
        file.close()  # its last holder removed it
    with file:
        yield


def _acquire(path: Path, subject: str, advice: str) -> IO[str]:
    while True:
        with storage_errors(path):
            file = path.open("a+")
        free = lock_now(file)
        if free is False:
            holder = _holder(file)
            file.close()
            raise InUseError(_in_use(subject, holder, advice))
        if not _is_at(file, path):  # its holder removed it before it was locked
            file.close()
            continue
        holder = _still_heard(path, file, locks=free is True)
        if holder is None:
            return file
        file.close()
        wait = f"If that process is dead, wait {SILENT_SECONDS:.0f} seconds, or delete {path}."
        raise InUseError(_in_use(subject, holder, f"{advice} {wait}".strip()))


def _in_use(subject: str, holder: Holder | None, advice: str) -> str:
    who = f"by {holder}" if holder is not None else "by another process"
    return f"{subject} is in use {who}. {advice}".rstrip()


def lock_now(file: IO[str]) -> bool | None:
    """Whether this process gets the lock of a file now; None: the system cannot lock it."""
    return lock_descriptor(file.fileno()) if CAN_LOCK else None


def _still_heard(path: Path, file: IO[str], *, locks: bool) -> Holder | None:
    """The holder in an unlocked lock file, if it may still be alive.

    If the system ``locks`` files here, a holder on this machine is dead.
    """
    holder = _holder(file)
    if holder is None or (locks and holder.here):
        return None
    if holder.here and not alive(holder.pid):
        return None
    return holder if _silence(path) < SILENT_SECONDS else None


def _silence(path: Path) -> float:
    """Seconds since a lock file was touched, by the clock of its file system."""
    probe = path.with_name(f"{path.name}.{os.getpid()}.now")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    try:
        return now - path.stat().st_mtime
    except OSError:
        return float("inf")


def _holder(file: IO[str]) -> Holder | None:
    try:
        file.seek(0)
        return Holder(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None


@functools.cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether a path still names this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
