"""A file server with range requests that counts what each node asks for, and can be slow and unreliable.

As a program (``python -m scale.server``) it prints its port and serves until it is killed.
"""

from __future__ import annotations

import argparse
import http.server
import json
import random
import re
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

_PIECE = 1 << 16


class TokenBucket:
    """Lets so many bytes a second through, for all that share it.

    Args:
        rate: bytes a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._lock, self._free_at = rate, threading.Lock(), 0.0

    def take(self, nbytes: int) -> None:
        """Wait until these bytes may pass."""
        with self._lock:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + nbytes / self._rate
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)


class FileServer(http.server.ThreadingHTTPServer):
    """Serves the files of a folder at ``/NODE/FILE``, and at ``/log`` what each node asked for.

    Args:
        address: host and port.
        folder: of the files.
        latency: seconds before each answer.
        rate: bytes a second for each node; 0: no limit.
        failing: share of the requests that are answered with status 503.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], folder: Path, *, latency: float = 0.0, rate: float = 0.0, failing: float = 0.0
    ) -> None:
        super().__init__(address, _Handler)
        self.folder, self.latency, self.failing = folder, latency, failing
        self.buckets: dict[str, TokenBucket] = defaultdict(lambda: TokenBucket(rate)) if rate else {}
        self.limited = bool(rate)
        self.random, self.lock = random.Random(0), threading.Lock()
        self.nbytes: dict[str, Counter[str]] = defaultdict(Counter)
        self.requests: dict[str, Counter[str]] = defaultdict(Counter)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def log(self) -> dict[str, Any]:
        """Of each node: bytes by file, and requests by kind."""
        with self.lock:
            return {
                "bytes": {node: dict(found) for node, found in self.nbytes.items()},
                "requests": {node: dict(found) for node, found in self.requests.items()},
            }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FileServer

    def do_HEAD(self) -> None:
        """The size of a file."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """A file or a part of it."""
        if self.path == "/log":
            content = json.dumps(self.server.log()).encode()
            self._begin(200, len(content))
            self.wfile.write(content)
        else:
            self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        server, (_, node, *rest) = self.server, self.path.split("/")
        with server.lock:
            fails = server.random.random() < server.failing
            server.requests[node]["failed" if fails else self.command] += 1
        time.sleep(server.latency)
        path = server.folder / Path(*rest).name
        if fails or not path.is_file():
            self._begin(503 if fails else 404, 0)
            return
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), min(int(asked[2]) + 1, size)) if asked else (0, size)
        self._begin(206 if asked else 200, end - start)
        if body:
            self._send(path, start, end, node)

    def _begin(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, path: Path, start: int, end: int, node: str) -> None:
        with path.open("rb") as file:
            file.seek(start)
            while start < end:
                piece = file.read(min(_PIECE, end - start))
                if self.server.limited:
                    self.server.buckets[node].take(len(piece))
                self.wfile.write(piece)
                start += len(piece)
                with self.server.lock:
                    self.server.nbytes[node][path.name] += len(piece)

    def log_message(self, *args: Any) -> None:
        """The log counts."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    for name in ("latency", "rate", "failing"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    given = parser.parse_args()
    with FileServer((given.host, 0), given.folder, latency=given.latency, rate=given.rate, failing=given.failing) as server:
        print(server.server_address[1], flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    main()
