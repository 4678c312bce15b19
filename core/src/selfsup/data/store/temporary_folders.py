"""Build folders under a hidden name and rename them when they are complete; clean up after killed processes."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from pathlib import Path

from selfsup.runtime.file_lock import alive


def temporary_folder(folder: Path, key: str) -> Path:
    """A hidden folder in which this process builds ``key``; its name tells host and process."""
    return folder / f".{key}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp"


def remove_remains(folder: Path, key: str) -> None:
    """Remove temporary folders of ``key`` that killed processes of this machine left."""
    for left in folder.glob(f".{key}.*.tmp"):
        parts = left.name.split(".")
        host, pid = ".".join(parts[2:-3]), parts[-3]
        if host == socket.gethostname() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
