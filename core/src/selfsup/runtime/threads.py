"""Work in threads whose results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")


def in_order(work: Callable[[P], R], parts: Iterable[P], workers: int) -> Generator[R]:
    """``work`` of each part, in their order, with a bounded number of parts in memory at a time.

    Args:
        work: called in threads.
        parts: read as they are needed.
        workers: number of threads.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="selfsup-encode") as pool:
        try:
            for part in parts:
                pending.append(pool.submit(work, part))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
