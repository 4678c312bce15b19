"""Kill a process, or fill its disk, at a chosen change of the file system, by a small library in C that is loaded first.

The library (``disk_faults.c``) stands before the C library in every process of an attempt, so that it sees what Python, torch,
safetensors and Arrow write. It counts changes below one folder: files that are opened to be written, writes, renames, removals,
new folders, and syncs.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("disk_faults.c")
_PATH_BYTES = 4096
VARIABLE = "DISK_FAULTS"
"""Names the control file to processes that are started with ``exec``."""


class _Control(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in ("calls", "kill_at", "written", "full_at", "room", "leader", "no_new", "fired", "mapped")
        ),
        ("root", ctypes.c_char * _PATH_BYTES),
        ("at", ctypes.c_char * _PATH_BYTES),
    ]


@dataclass(frozen=True)
class Fault:
    """What happens to an attempt."""

    kill_at: int = 0
    """The process that makes the change with this number, from 1, is killed in the middle of it; 0: none is."""
    whole: bool = False
    """Kill the command's own process as well, if one of its children makes the change."""
    full_at: int = 0
    """The disk is full from the middle of the change with this number on; 0: it never is."""
    no_new: bool = False
    """A full disk refuses new files and folders, too, as one without free inodes does."""
    disk_bytes: int | None = None
    """Size of a real disk, :class:`long_runs.small_disk.SmallDisk`; None: a large one."""
    after_seconds: float | None = None
    """Kill the command's process after so long; None: do not."""

    def __str__(self) -> str:
        texts = []
        if self.kill_at:
            texts.append(f"killed at change {self.kill_at}{' with its parent' if self.whole else ''}")
        if self.full_at:
            texts.append(f"disk full from change {self.full_at} on{', also for new files' if self.no_new else ''}")
        if self.disk_bytes is not None:
            texts.append(f"a disk of {self.disk_bytes} bytes")
        if self.after_seconds is not None:
            texts.append(f"killed after {self.after_seconds:.2f} s")
        return ", ".join(texts) or "undisturbed"


def can_build() -> bool:
    """Whether the library can be made here: on Linux with a C compiler."""
    return sys.platform == "linux" and _compiler() is not None


def build(folder: Path) -> Path:
    """Compile the library into a folder; gives its path for ``LD_PRELOAD``."""
    library = folder / "disk_faults.so"
    command = [str(_compiler()), "-O2", "-fPIC", "-shared", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def _compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


class Control:
    """The memory that the library shares with the processes that watch it.

    Args:
        path: of its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._values = _Control.from_buffer(self._memory)

    @classmethod
    def make(cls, path: Path, root: Path) -> Control:
        """Make the file; only changes below ``root`` count."""
        path.write_bytes(bytes(ctypes.sizeof(_Control)))
        control = cls(path)
        control._values.root = os.fsencode(root.resolve())
        control.set(Fault())
        return control

    def set(self, fault: Fault) -> None:
        """Take a fault for what follows, and count from zero."""
        values = self._values
        values.calls = values.written = values.fired = values.mapped = values.leader = 0
        values.at = b""
        values.kill_at, values.full_at, values.no_new, values.room = fault.kill_at, fault.full_at, int(fault.no_new), -1

    def lead(self, pid: int) -> None:
        """Kill this process as well; 0: only the one that makes the change."""
        self._values.leader = pid

    @property
    def calls(self) -> int:
        """Changes since :meth:`set`."""
        return int(self._values.calls)

    @property
    def written(self) -> int:
        """Bytes since :meth:`set`."""
        return int(self._values.written)

    @property
    def fired(self) -> bool:
        """Whether the fault has happened."""
        return bool(self._values.fired)

    @property
    def mapped(self) -> int:
        """Shared writable maps of files: writing to one on a full disk would end the process with SIGBUS."""
        return int(self._values.mapped)

    @property
    def at(self) -> str:
        """The path of the first fault, or of the first map."""
        return os.fsdecode(self._values.at)


def arm(control: Path) -> None:
    """Obey a control file from now on: in a process that was forked, and in all that it starts."""
    os.environ[VARIABLE] = str(control)
    ctypes.CDLL(None).disk_faults_arm(os.fsencode(control))
