"""Makes the toy modality an installed plugin for as long as a test lasts."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfsup.registry import reset

NAME = "sequences"


def write_distribution(folder: Path) -> None:
    """Write a distribution ``selfsup-sequences`` into ``folder``: with that on ``PYTHONPATH``, the plugin is installed."""
    info = folder / "selfsup_sequences-0.1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: selfsup-sequences\nVersion: 0.1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[selfsup]\n{NAME} = selfsup.testing.toy.sequences.plugin\n", encoding="utf-8")


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Install the plugin in this process, its metadata in the empty ``folder``; other plugins stay as they are."""
    write_distribution(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    reset()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        importlib.invalidate_caches()
        reset()
