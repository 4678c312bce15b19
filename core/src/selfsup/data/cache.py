"""Where derived data is kept between runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_chosen: ContextVar[Path | None] = ContextVar("selfsup_cache", default=None)


def cache_root() -> Path:
    """The folder of all caches: ``$SELFSUP_CACHE``, else ``$XDG_CACHE_HOME/selfsup``, else ``~/.cache/selfsup``.

    While :func:`cache_in` lasts it is the folder given there. Everything in it can be made again, so it may be deleted
    whenever no run uses it.
    """
    if (chosen := _chosen.get()) is not None:
        return chosen
    if own := os.environ.get("SELFSUP_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "selfsup"


@contextmanager
def cache_in(folder: str | Path) -> Iterator[None]:
    """Keep derived data below ``folder`` for as long as this lasts, in this thread alone: of rows that are used once only."""
    token = _chosen.set(Path(folder))
    try:
        yield
    finally:
        _chosen.reset(token)
