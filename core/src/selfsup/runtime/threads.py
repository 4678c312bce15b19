"""Map a function over items in threads, with results in order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

P = TypeVar("P")
R = TypeVar("R")


def in_order(work: Callable[[P], R], parts: Iterable[P], workers: int, most: int | None = None) -> Generator[R]:
    """Apply ``work`` to each part in threads, with results in order and a bounded number of parts in memory.

    Args:
        work: is applied.
        parts: what it is applied to.
        workers: number of threads.
        most: parts that are worked on or lie ready, beside the one that was given last; None: two a thread.
    """
    most = 2 * workers if most is None else most
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="selfsup-encode") as pool:
        try:
            for part in parts:
                pending.append(pool.submit(work, part))
                if len(pending) > most:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def read_ahead(items: Iterator[R], most: int) -> Generator[R]:
    """The items, which a thread produces ahead; its errors are raised here. Closing this ends the thread.

    Args:
        items: iterated, and closed if possible, only in the thread.
        most: most items to keep ready.
    """
    ready: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(maxsize=most)
    stop = threading.Event()
    thread = threading.Thread(target=_produce, args=(items, ready, stop), name="selfsup-prefetch", daemon=True)
    del items  # only the thread keeps them
    thread.start()
    try:
        while True:
            item, error, more = ready.get()
            if error is not None:
                raise error
            if not more:
                return
            yield item
    finally:
        stop.set()
        while thread.is_alive():  # it may be waiting for a free place
            _drain(ready)
            thread.join(timeout=0.01)


def _produce(items: Iterator[Any], ready: queue.Queue[Any], stop: threading.Event) -> None:
    """Fill the queue; not a closure, so that the thread keeps no iterator alive."""
    try:
        for item in items:
            if stop.is_set():
                break
            ready.put((item, None, True))
        ready.put((None, None, False))
    except BaseException as error:
        ready.put((None, error, False))
    finally:
        if (close := getattr(items, "close", None)) is not None:
            close()


def _drain(ready: queue.Queue[Any]) -> None:
    while True:
        try:
            ready.get_nowait()
        except queue.Empty:
            return
