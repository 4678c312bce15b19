"""Find the folder of the files that a table names: the table's own, or one inside or beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfsup.data.sources.media.files import real_path
from selfsup.errors import ConfigError

_MOST_FOLDERS = 500


def paths_in(values: Sequence[Any]) -> list[str]:
    """The relative paths among values of a media column, without values that hold file contents."""
    found = []
    for value in values:
        path = value if isinstance(value, str) else value.get("path") if isinstance(value, dict) else None
        if path and not (isinstance(value, dict) and value.get("bytes")) and not Path(path).is_absolute():
            found.append(path)
    return found


def find_folder(root: Path, paths: Sequence[str], given: str = "", known: str = "") -> Path:
    """The folder of relative paths; ``root`` unless another folder has more of the files.

    Args:
        root: of the table.
        paths: some of the paths in the table.
        given: the folder that the user gave, relative to the working directory; or empty.
        known: the folder of the rows that an encoder was trained on, as another candidate; or empty.

    Raises:
        ConfigError: the given folder does not exist.
    """
    if given:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"processor.folder={given} is no folder.")
        return folder.absolute()
    best, most = root, _count(root, paths)
    if not paths or most == len(paths):
        return best
    for folder in itertools.chain([Path(known).expanduser().absolute()] if known else [], _near(root)):
        if (count := _count(folder, paths)) > most:
            best, most = folder, count
        if most == len(paths):
            break
    return best


def _count(folder: Path, paths: Sequence[str]) -> int:
    return sum(Path(real_path(folder / path)).exists() for path in paths)


def _near(root: Path) -> Iterator[Path]:
    """Folders in ``root``, inside those, and beside ``root``; a limited number."""
    seen = 0
    for base in (root, root.parent):
        for folder in sorted(_folders(base)):
            seen += 1
            if seen > _MOST_FOLDERS:
                return
            yield folder
            if base == root:
                yield from sorted(_folders(folder))[:_MOST_FOLDERS]


def _folders(base: Path) -> list[Path]:
    try:
        return [entry for entry in base.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
