"""Catch what decoders write to stderr: keep it off the screen, count it, and report it in one line.

The libraries below a decoder (libmpg123, FFmpeg, libtiff) write past Python, to file descriptor 2, and do so hundreds of times
for one set of damaged files. Inside :func:`caught_noise`, that descriptor leads to a log file. Output of Python to
``sys.stderr`` (progress, the user's own output) still reaches the screen, except inside :func:`decoding`, such as warnings of
Pillow.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from selfsup.runtime.cache_folder import cache_root

_STDERR = 2
_MOST_BYTES = 4 << 20
_KEPT_BYTES = 1 << 20
_KEPT_LOGS = 20
_LOCK = threading.RLock()
_thread = threading.local()
_capture: _Capture | None = None


@contextmanager
def caught_noise(tell: Callable[[str], object]) -> Iterator[None]:
    """Send the output of decoders on standard error to a log file in the cache.

    An open block in any thread also serves this one. Without such a descriptor, or without room for a log, nothing is caught.

    Args:
        tell: called at the end with one line on the number of lines and the log; not called if nothing was written.
    """
    global _capture
    with _LOCK:
        if _capture is None:
            with suppress(OSError):
                _capture = _Capture()
        mine = _capture
        if mine is not None:
            mine.users += 1
    try:
        yield
    finally:
        lines = 0
        with _LOCK:
            if mine is not None:
                mine.users -= 1
                if not mine.users:
                    _capture = None
                    lines = mine.close()
        if mine is not None and lines:
            tell(f"The decoders wrote {lines:,} line{'' if lines == 1 else 's'} of warnings; see {mine.path}")


@contextmanager
def decoding() -> Iterator[None]:
    """Mark this thread as decoding: Python output to ``sys.stderr`` in the block comes from a decoder."""
    before = getattr(_thread, "decoding", False)
    _thread.decoding = True
    try:
        yield
    finally:
        _thread.decoding = before


def bound_log() -> None:
    """Cut the log if it is long; cut lines are counted. Call it from time to time."""
    if _capture is not None:
        _capture.bound()


class Screen:
    """A text stream to the target of ``stream``, also while that is caught."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        capture = _capture
        caught = capture is not None and _is_direct(self._stream)
        return getattr(capture.screen if caught and capture is not None else self._stream, name)


class _Capture:
    """Redirect descriptor 2 to a file, and ``sys.stderr`` to the former target."""

    def __init__(self) -> None:
        self.users = 0
        folder = cache_root() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old(folder)
        self.path = folder / f"decoders-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(2)}.log"
        before = os.dup(_STDERR)
        try:
            self._log = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        except OSError:
            os.close(before)
            raise
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        self.screen: TextIO = io.TextIOWrapper(
            io.FileIO(before, "w"), encoding=encoding, errors="backslashreplace", line_buffering=True, write_through=True
        )
        self._former = sys.stderr
        self._cut = 0
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        self._own: Any = _SplitStderr(self.screen if _is_direct(sys.stderr) else sys.stderr, self._log)
        self._handlers = [(handler, handler.setStream(self._own)) for handler in _direct_handlers()]
        sys.stderr = self._own
        os.dup2(self._log, _STDERR)

    def close(self) -> int:
        """Restore everything; return the number of caught lines."""
        os.dup2(self.screen.fileno(), _STDERR)
        if sys.stderr is self._own:
            sys.stderr = self._former
        for handler, former in self._handlers:
            if former is not None and handler.stream is self._own:
                handler.setStream(former)
        lines = self._cut + _lines(self.path, 0)
        os.close(self._log)
        self.screen.close()
        if not lines:
            self.path.unlink(missing_ok=True)
        return lines

    def bound(self) -> None:
        """Cut a log of more than four megabytes to its first megabyte."""
        with _LOCK:
            if os.fstat(self._log).st_size > _MOST_BYTES:
                self._cut += _lines(self.path, _KEPT_BYTES)
                os.ftruncate(self._log, _KEPT_BYTES)


class _SplitStderr:
    """Replaces ``sys.stderr``: threads that decode write to the log, all others to the screen."""

    def __init__(self, screen: TextIO, log: int) -> None:
        self._screen, self._log = screen, log

    def write(self, text: str) -> int:
        """Write to the log or the screen, depending on the thread."""
        if getattr(_thread, "decoding", False):
            os.write(self._log, text.encode("utf-8", "backslashreplace"))
            return len(text)
        return self._screen.write(text)

    def writelines(self, lines: Any) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)


def _is_direct(stream: Any) -> bool:
    """Whether a stream writes to descriptor 2; in tests, notebooks and under rich's live bar it may not."""
    if hasattr(stream, "rich_proxied_file"):
        return False
    try:
        return bool(stream.fileno() == _STDERR)
    except (OSError, ValueError, AttributeError):
        return False


def _direct_handlers() -> list[logging.StreamHandler[Any]]:
    """Log handlers that hold a ``sys.stderr`` that leads to descriptor 2."""
    loggers = [logging.root, *(item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger))]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    return [
        handler
        for handler in handlers.values()
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
        and not isinstance(getattr(type(handler), "stream", None), property)  # these look up ``sys.stderr``
        and _is_direct(handler.stream)
    ]


def _lines(path: Path, start: int) -> int:
    """Number of lines of a file from byte ``start``, with an unfinished last line."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(1 << 20):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


def _remove_old(folder: Path) -> None:
    """Remove all but the newest logs."""
    for path in sorted(folder.glob("decoders-*.log"))[: -_KEPT_LOGS or None]:
        path.unlink(missing_ok=True)
