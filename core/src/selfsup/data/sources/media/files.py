"""Check a media file before a decoder opens it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from selfsup.errors import BadRowError

_ESCAPED = re.compile(r"\\udc([89a-f][0-9a-f])")
"""How :func:`readable_name` writes a byte of a file's name that is not UTF-8."""


def readable_name(name: str) -> str:
    """A file's name as valid text: bytes that are not UTF-8 become escapes (``caf\\udce9.wav``)."""
    return name.encode("utf-8", "backslashreplace").decode()


def real_path(path: str | Path) -> str | Path:
    """The path of a file whose name :func:`readable_name` gave; any other path unchanged."""
    text = os.fspath(path)
    if not _ESCAPED.search(text) or os.path.lexists(text):
        return path
    return _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def check_media_file(path: str | Path, noun: str) -> str:
    """The absolute path of a regular file that can be opened and is not empty.

    Devices and pipes are refused, since reading them may never end.

    Args:
        path: of the file.
        noun: what it should hold, for the message: ``recording``.

    Raises:
        BadRowError: it does not exist, is a folder, a device or a pipe, is not readable, or is empty.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size:
            with path.open("rb"):
                return str(path.absolute())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file"
            if path.is_symlink():
                reason = f"it is a link to {readable_name(os.fspath(path.readlink()))}, which does not exist"
        raise BadRowError(f"the {noun} cannot be opened: {reason}") from error
    if stat.S_ISREG(status.st_mode):
        raise BadRowError(f"the {noun} is empty (0 bytes)")
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or pipe"
    raise BadRowError(f"the {noun} cannot be opened: it is a {kind}, not a file")
