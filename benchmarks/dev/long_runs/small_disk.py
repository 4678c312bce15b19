"""A real disk of a chosen size in memory (tmpfs), for those who may mount one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

_LARGE = 512 << 20


class SmallDisk(AbstractContextManager["SmallDisk"]):
    """A disk that is mounted below a folder.

    Args:
        path: of the folder; it is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        _mount(f"size={_LARGE}", "tmpfs", path)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    @property
    def used(self) -> int:
        """Bytes in use."""
        state = os.statvfs(self.path)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def resize(self, size: int | None) -> None:
        """Give the disk another size in bytes; None: a large one."""
        _mount(f"remount,size={_LARGE if size is None else size}", "tmpfs", self.path)


def can_mount() -> bool:
    """Whether this process may mount a disk."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with SmallDisk(Path(folder) / "disk"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def _mount(options: str, kind: str, path: Path) -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(path)], check=True, capture_output=True)
