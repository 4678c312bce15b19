"""Files at URLs: requests that fail for a moment are sent again, many are sent at a time, and a lasting failure is named."""

from __future__ import annotations

import http.server
import io
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfsup.data.sources.streams import remote_files
from selfsup.data.sources.streams.load import open_stream
from selfsup.data.sources.streams.remote_files import AHEAD, BLOCK, RETRIES, TAIL, RemoteFile, may_pass
from selfsup.data.sources.streams.shards import ParquetShard, open_file, read_file
from selfsup.errors import SourceError
from selfsup.registry import registry

pytestmark = pytest.mark.usefixtures("toy")

SHARDS, ROWS = 24, 3


class Server(http.server.ThreadingHTTPServer):
    """Serves a few files by ranges, and fails as it is asked to."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.sent = files, Counter[str](), Counter[str]()
        self.fails: Iterator[str] = itertools.repeat("")
        self.ranges, self.delay = True, 0.0
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def handle_error(self, *args: Any) -> None:
        """Clients that hang up are no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        server, name = self.server, self.path.lstrip("/")
        with server.lock:
            server.asked[f"{self.command} {name}"] += 1
            fails, server.now = next(server.fails), server.now + 1
            server.most = max(server.most, server.now)
        time.sleep(server.delay)
        with server.lock:
            server.now -= 1
        content = server.files.get(name)
        if (fails and fails != "cut") or content is None:
            self.send_response(int(fails or 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = 200
        if server.ranges and (asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))):
            content, status = content[int(asked[1]) : int(asked[2]) + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            server.sent[name] += len(content)
            self.wfile.write(content[: len(content) // 2] if fails else content)
        self.close_connection = bool(fails)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    monkeypatch.setattr(remote_files, "FIRST_WAIT", 0.002)
    RETRIES.take()
    line = '{{"sequence": [1, {0}, 2, 3]}}\n'
    files = {
        f"part-{shard:03d}.jsonl": "".join(line.format(shard * ROWS + row) for row in range(ROWS)).encode()
        for shard in range(SHARDS)
    }
    with Server(files) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def opened(server: Server, **options: Any) -> Any:
    source = f"{server.url}/part-{{000..{SHARDS - 1:03d}}}.jsonl"
    return open_stream(source, modality=registry().get("modality", "sequence"), sample_rows=6, **options)


def test_each_shard_is_asked_for_once_and_many_at_a_time(server: Server) -> None:
    server.delay = 0.05
    stream = opened(server)
    assert len(stream.shards) == SHARDS
    assert server.most >= 8
    heads = [server.asked[f"HEAD {name}"] for name in server.files]
    assert heads[5:] == [1] * (SHARDS - 5)
    assert not any(server.asked[f"GET {name}"] for name in list(server.files)[5:]), "the sample is of the first shards"


def test_one_process_lists_for_all(server: Server) -> None:
    told: list[Any] = []

    def first(work: Callable[[], Any]) -> Any:
        told.append(work())
        return told[-1]

    stream = opened(server, listed=first)
    server.asked.clear()
    other = opened(server, listed=lambda work: told.pop(0))
    assert (other.fingerprint, [shard.name for shard in other.shards]) == (
        stream.fingerprint,
        [shard.name for shard in stream.shards],
    )
    assert {name.split()[1] for name in server.asked} <= {f"part-{shard:03d}.jsonl" for shard in range(4)}, "the sample alone"


@pytest.mark.parametrize("failure", ["503", "429", "cut"])
def test_a_failure_for_a_moment_changes_no_row_and_is_told(server: Server, failure: str) -> None:
    server.fails = itertools.cycle([failure, "", "", failure, ""])
    stream = opened(server)
    read = [row["sequence"][1] for shard in range(SHARDS) for row in stream.read(shard)]
    assert read == list(range(SHARDS * ROWS))
    told = RETRIES.take()
    assert "request(s) failed and were sent again. The last: http://127.0.0.1" in told
    assert ("HTTP status" in told) == failure.isdigit()
    assert not RETRIES.take()


def test_a_shard_that_cannot_be_asked_for_is_an_error_and_no_missing_shard(server: Server) -> None:
    server.fails = itertools.repeat("503")
    with pytest.raises(SourceError, match=r"Cannot .* HTTP status 503 \(7 tries\)"):
        opened(server)


def test_a_lasting_failure_names_the_file_and_the_tries(server: Server) -> None:
    stream = opened(server)
    server.fails = itertools.repeat("502")
    with pytest.raises(SourceError, match=r"Cannot read http://.*/part-003\.jsonl: HTTP status 502 \(7 tries\)"):
        list(stream.read(3))


def test_what_will_not_pass_is_not_tried_again(server: Server) -> None:
    for status in ("403", "404"):
        server.asked.clear()
        server.fails = itertools.repeat(status)
        with pytest.raises(SourceError, match=r"Cannot read .*: (HTTP status 403|FileNotFoundError: .*)$"):
            read_file(f"{server.url}/part-000.jsonl")
        assert sum(server.asked.values()) == 1
    server.fails = itertools.repeat("")
    began = time.perf_counter()
    with pytest.raises(SourceError):
        open_stream("http://127.0.0.1:9/{000..009}.jsonl", modality=registry().get("modality", "sequence"), sample_rows=6)
    assert time.perf_counter() - began < 5


def test_shards_that_are_missing_are_passed_over(server: Server) -> None:
    del server.files["part-004.jsonl"]
    assert len(opened(server).shards) == SHARDS - 1


@pytest.mark.parametrize("ranges", [True, False])
def test_large_files_come_block_by_block_with_the_next_ones_on_their_way(server: Server, ranges: bool) -> None:
    content = bytes(range(251)) * (6 * BLOCK // 251) + b"end"
    server.files["large.bin"], server.ranges = content, ranges
    with open_file(f"{server.url}/large.bin") as file:
        file.seek(-3, io.SEEK_END)
        assert file.read() == b"end"
        file.seek(BLOCK - 10)
        assert file.read(20) == content[BLOCK - 10 : BLOCK + 10]
        file.seek(0)
        assert file.read() == content
    assert server.asked["GET large.bin"] <= (6 + 2 * (1 + AHEAD) if ranges else 1)


def test_the_end_of_a_large_file_is_a_small_request(server: Server) -> None:
    """Parquet keeps there how many rows it has, and what lies where."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    numbers = np.random.default_rng(0).integers(2**62, size=1 << 20)
    pq.write_table(pa.table({"x": numbers}), buffer)
    server.files["numbers.parquet"] = buffer.getvalue()
    assert len(buffer.getvalue()) > BLOCK
    shard = ParquetShard(f"{server.url}/numbers.parquet")
    assert shard.count() == len(numbers)
    assert server.sent["numbers.parquet"] <= TAIL
    asked = dict(server.asked)
    assert shard.count() == len(numbers)
    assert server.asked == asked
    assert [row["x"] for row in itertools.islice(shard.records(1000), 3)] == numbers[1000:1003].tolist()


def test_blocks_ahead_are_fetched_together() -> None:
    content, waiting, most, lock = bytes(8 * BLOCK), 0, 0, threading.Lock()

    def fetch(start: int, end: int) -> bytes:
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        time.sleep(0.05)
        with lock:
            waiting -= 1
        return content[start:end]

    with RemoteFile(fetch, len(content), "a file") as raw:
        assert len(io.BufferedReader(raw).read()) == len(content)
    assert AHEAD <= most <= AHEAD + 1


def test_short_answers_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_files, "FIRST_WAIT", 0.001)
    answers = iter([b"ab", b"abcd"])
    with RemoteFile(lambda start, end: next(answers), 4, "a file") as raw:
        assert io.BufferedReader(raw).read() == b"abcd"
    assert "2 bytes came where 4 were asked for" in RETRIES.take()


def test_which_errors_may_pass() -> None:
    aiohttp = pytest.importorskip("aiohttp")
    passing = [ConnectionResetError(), TimeoutError(), aiohttp.ServerDisconnectedError()]
    assert all(map(may_pass, passing))
    lasting = [FileNotFoundError("x"), PermissionError("x"), ValueError("x"), aiohttp.InvalidURL("x"), KeyError("x")]
    assert not any(map(may_pass, lasting))
    assert may_pass(ConnectionRefusedError())
    assert not may_pass(ConnectionRefusedError(), refused=False)
