"""The other side of a comparison in a process of its own, which nothing of ours has set up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_OUR_SETTINGS = {"THP_MEM_ALLOC_ENABLE": "0"}
"""What ``import selfsup`` changes for its process, and what it is without."""


def _talk_on_stderr() -> None:
    """What the other side prints belongs not into our results on standard output."""
    os.dup2(2, 1)


@contextmanager
def apart() -> Iterator[Callable[[Callable[_P, _R]], Callable[_P, _R]]]:
    """Start a fresh process that lives until the end of the block.

    Yields:
        What makes a module's function run there: ``there(function)(*arguments)``. Its process keeps what the function caches.
    """
    before = {name: os.environ.get(name) for name in _OUR_SETTINGS}
    os.environ.update(_OUR_SETTINGS)
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_talk_on_stderr)
    try:
        pool.submit(int).result()  # starts the process while these settings hold

        def there(function: Callable[_P, _R]) -> Callable[_P, _R]:
            def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                return pool.submit(partial(function, *args, **kwargs)).result()

            return call

        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        yield there
    finally:
        pool.shutdown()
