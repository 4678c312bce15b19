"""Read files at URLs: requests that fail for a moment are sent again, and many are sent at a time."""

from __future__ import annotations

import io
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any, TypeVar, cast

from selfsup.errors import SourceError
from selfsup.runtime.threads import in_order

R = TypeVar("R")

TRIES = 7
"""How often a request is sent before it counts as failed."""
FIRST_WAIT = 0.5
"""Seconds before the second try; they double each time, so that all tries take half a minute."""
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be gone a moment later."""
AT_ONCE = 32
"""Files that are asked for their size, or their number of rows, at a time."""
BLOCK = 4 << 20
"""Bytes of a request."""
TAIL = 1 << 18
"""Bytes at the end of a large file, where Parquet keeps what it holds: a request of their own."""
AHEAD = 4
"""Blocks of a file that is read in order which are requested ahead."""
_BUFFER = 1 << 16


class Retries:
    """Counts the requests of this process that were sent again, and keeps the last reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count, self._last = 0, ""

    def note(self, what: str, error: BaseException) -> None:
        """A request failed and is sent again."""
        with self._lock:
            self._count, self._last = self._count + 1, f"{what}: {described(error)}"

    def take(self) -> str:
        """A sentence on the retries since the last call; empty where there were none."""
        with self._lock:
            count, last, self._count, self._last = self._count, self._last, 0, ""
        return f"{count} request(s) failed and were sent again. The last: {last}." if count else ""


RETRIES = Retries()


def persistently(request: Callable[[], R], what: str, *, refused: bool = True) -> R:
    """The result of a request, which is sent up to :data:`TRIES` times as long as it fails for a reason that may pass.

    Args:
        request: sends it.
        what: its file, for messages.
        refused: whether a server that nobody finds, or that refuses connections, counts as such a reason. At the first contact
            it is more likely a wrong address.
    """
    wait = FIRST_WAIT
    for _ in range(TRIES - 1):
        try:
            return request()
        except Exception as error:  # each file system raises what its client raises
            if not may_pass(error, refused=refused):
                raise
            RETRIES.note(what, error)
        time.sleep(wait * random.uniform(0.5, 1.0))  # else many processes come back at once
        wait *= 2
    return request()


def may_pass(error: BaseException, *, refused: bool = True) -> bool:
    """Whether the same request may succeed a moment later: a busy server, a lost connection, a time limit."""
    chain = list(_chain(error))
    if statuses := [status for link in chain if (status := _status(link)) is not None]:
        return statuses[0] in _BUSY
    if any(isinstance(link, ConnectionRefusedError | socket.gaierror) for link in chain):
        return refused
    return any(isinstance(link, ConnectionError | TimeoutError) or _is_of_client(link) for link in chain)


def described(error: BaseException) -> str:
    """What went wrong at the bottom of an error, and how often the request was sent if that was more than once.

    A file system may say that a file is missing where its server was busy.
    """
    chain = list(_chain(error))
    cause = next((link for link in chain if _status(link) is not None), chain[-1])
    status = _status(cause)
    text = f"{type(cause).__name__}: {cause}".rstrip(": ") if status is None else f"HTTP status {status}"
    return f"{text} ({TRIES} tries)" if may_pass(error) else text


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    known: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in known:
        known.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error of aiohttp, botocore, gcsfs or azure's client."""
    own = type(error).__module__.startswith("aiohttp.")  # a broken body has code 400 there, which no server sent
    for name in ("status",) if own else ("status", "code", "status_code"):
        if isinstance(value := getattr(error, name, None), int) and 100 <= value < 600:
            return value
    answer = getattr(error, "response", None)
    found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
    return found if isinstance(found, int) else None


def _is_of_client(error: BaseException) -> bool:
    """Whether aiohttp or botocore lost a connection; an invalid URL is a ValueError, too."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"ClientError", "HTTPClientError", "IncompleteRead"}) and not isinstance(error, ValueError)


def infos(system: Any, places: Sequence[str]) -> list[dict[str, Any] | None]:
    """What a file system knows of each file, many asked for at a time; None: there is no such file."""

    def info(place: str) -> dict[str, Any] | None:
        try:
            return dict(persistently(lambda: system.info(place), place, refused=False))
        except FileNotFoundError as error:
            chain = list(_chain(error))
            statuses = [status for link in chain if (status := _status(link)) is not None]
            if statuses[:1] in ([404], [410]) or all(isinstance(link, FileNotFoundError | KeyError) for link in chain):
                return None
            raise SourceError(f"Cannot ask for {place}: {described(error)}.") from error

    return list(in_order(info, places, min(AT_ONCE, max(len(places), 1))))


@contextmanager
def open_remote(url: str) -> Iterator[IO[bytes]]:
    """The bytes of a file at a URL."""
    import fsspec  # type: ignore[import-untyped]

    system, place = fsspec.core.url_to_fs(url)
    size = persistently(lambda: system.info(place), url).get("size")
    if size is None:  # the server does not say, and cannot be asked for a part
        with persistently(lambda: system.open(place, "rb"), url) as file:
            yield file
        return
    with RemoteFile(lambda start, end: system.cat_file(place, start=start, end=end), size, url) as raw:
        yield cast(IO[bytes], io.BufferedReader(raw, _BUFFER))


class RemoteFile(io.RawIOBase):
    """A file that is fetched block by block; where it is read in order, the next blocks are on their way.

    One connection is slow where the way is long: a block a round trip. Several blocks at a time fill the network.

    Args:
        fetch: gives the bytes from one place up to another.
        size: bytes of the file.
        name: for messages.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, name: str) -> None:
        super().__init__()
        self._fetch, self._size, self._name = fetch, size, name
        self._body = size - TAIL if size > BLOCK else size
        self._last = max(-(-self._body // BLOCK) - 1, 0) + (size > BLOCK)
        self._at = 0
        self._block, self._held = -1, memoryview(b"")
        self._pending: deque[tuple[int, Future[bytes]]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._whole: bytes | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Place of the next byte."""
        return self._at

    def seek(self, offset: int, start: int = io.SEEK_SET, /) -> int:
        """Go to a place; nothing is requested."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[start]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read up to the end of a block."""
        view = memoryview(buffer).cast("B")
        if self._at >= self._size or not len(view):
            return 0
        number = self._at // BLOCK if self._at < self._body else self._last
        offset = self._at - self._edges(number)[0]
        if number != self._block:
            self._held, self._block = memoryview(self._wanted(number)), number
        part = self._held[offset : offset + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        """Drop what is on its way."""
        self._drop()
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        super().close()

    def _wanted(self, number: int) -> bytes:
        while self._pending and self._pending[0][0] < number:
            self._pending.popleft()[1].cancel()
        coming = self._pending.popleft()[1] if self._pending and self._pending[0][0] == number else None
        if coming is None:
            self._drop()
        if number == self._block + 1 > 0 or coming is not None:
            self._send(number)
        return self._get(number) if coming is None else coming.result()

    def _send(self, number: int) -> None:
        """Request the blocks behind one."""
        first = self._pending[-1][0] + 1 if self._pending else number + 1
        for block in range(first, min(number + AHEAD, self._last) + 1):
            if self._pool is None:
                self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="selfsup-fetch")
            self._pending.append((block, self._pool.submit(self._get, block)))

    def _edges(self, number: int) -> tuple[int, int]:
        """Where a block begins and ends."""
        if number == self._last and self._body < self._size:
            return self._body, self._size
        return number * BLOCK, min((number + 1) * BLOCK, self._body)

    def _get(self, number: int) -> bytes:
        start, end = self._edges(number)
        return persistently(lambda: self._checked(start, end), self._name)

    def _checked(self, start: int, end: int) -> bytes:
        if self._whole is not None:
            return self._whole[start:end]
        found = self._fetch(start, end)
        if len(found) == self._size != end - start:  # the server sends whole files, whatever is asked for
            self._whole = found
            return found[start:end]
        if len(found) != end - start:
            raise ConnectionError(f"{len(found)} bytes came where {end - start} were asked for")
        return found

    def _drop(self) -> None:
        while self._pending:
            self._pending.popleft()[1].cancel()
