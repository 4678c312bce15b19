"""Where derived data is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The folder of all caches: ``$SELFSUP_CACHE``, else ``$XDG_CACHE_HOME/selfsup``, else ``~/.cache/selfsup``.

    Everything in it can be made again, so it may be deleted whenever no run uses it.
    """
    if own := os.environ.get("SELFSUP_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "selfsup"
