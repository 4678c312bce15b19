"""Find the folder of the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from selfsup.runtime.shared_lock import hold_shared

_held: dict[Path, int] = {}
"""Cache folder to the descriptor that marks this process as a user."""
_chosen: ContextVar[Path | None] = ContextVar("selfsup_cache", default=None)


def cache_root() -> Path:
    """The folder of all caches: ``$SELFSUP_CACHE``, else ``$XDG_CACHE_HOME/selfsup``, else ``~/.cache/selfsup``.

    Inside :func:`cache_in` it is the folder given there. Everything in it can be recomputed; ``selfsup cache clear`` removes
    entries that no process uses. This process counts as a user from its first call.
    """
    root = cache_path()
    _hold(root)
    return root


def cache_path() -> Path:
    """Like :func:`cache_root`, without becoming a user of the cache."""
    if (chosen := _chosen.get()) is not None:
        return chosen
    if own := os.environ.get("SELFSUP_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "selfsup"


def _hold(root: Path) -> None:
    """Tell other processes that this one may read the cache, as long as it lives."""
    if root in _held or not root.is_dir():
        return
    lock = root / "in-use.lock"
    with suppress(OSError):
        lock.touch()
        if (descriptor := hold_shared(lock)) is not None:
            _held[root] = descriptor


@contextmanager
def cache_in(folder: str | Path) -> Iterator[None]:
    """Keep derived data below ``folder`` in this block and thread: for rows that are used only once."""
    token = _chosen.set(Path(folder))
    try:
        yield
    finally:
        _chosen.reset(token)
        if (descriptor := _held.pop(Path(folder), None)) is not None:
            os.close(descriptor)
