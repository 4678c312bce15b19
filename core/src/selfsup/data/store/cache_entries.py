"""List cache entries (size, age, source, runs) and clear them while other processes use the cache."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from selfsup.damaged_files import read_json
from selfsup.data.store.format import HEADER
from selfsup.errors import ConfigError
from selfsup.runtime.files import storage_errors
from selfsup.runtime.shared_lock import is_shared, try_lock

STORES = "stores"
RUN_FILE = "run.json"
USES = "uses.jsonl"
"""File of a store: a line for each run that took it."""
_ONE_BY_ONE = ("stores", "tables", "embedded", "objects")
"""Kinds whose entries are shown each for itself; those of others (hashes, listings, logs) are small and many."""
_UNITS = {"": 86_400.0, "d": 86_400.0, "h": 3_600.0, "w": 7 * 86_400.0}


@dataclass(frozen=True)
class Entry:
    """One thing in the cache."""

    key: str
    """``KIND/NAME``, or the kind alone for all of its small files."""
    kind: str
    size: int
    """Bytes on the disk."""
    used: float
    """When it was last written or taken, in seconds since 1970."""
    source: str = ""
    """What it was made from, where it says so."""
    runs: tuple[str, ...] = ()
    """Folders of the runs that took it and are there still."""
    unfinished: tuple[str, ...] = ()
    """Those of them that would take it again (``--resume``)."""
    in_use: bool = False
    """Whether a process reads or makes it now."""
    paths: tuple[Path, ...] = field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "paths": [str(path) for path in self.paths]}


@dataclass(frozen=True)
class Cleared:
    """What :func:`clear` did."""

    removed: tuple[Entry, ...]
    kept: tuple[Entry, ...]
    """Entries that were meant and are in use."""


def note_use(store: Path, run: Path) -> None:
    """Remember that a run took a store; where that cannot be written it is not known."""
    name = str(Path(run).absolute())
    if name in _uses(store):
        return
    line = json.dumps({"run": name, "time": round(time.time())}) + "\n"
    with contextlib.suppress(OSError), (store / USES).open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)  # half a line that a killed process left
        file.write(line.encode())


def entries(root: Path) -> list[Entry]:
    """All that a cache holds, the largest first.

    Args:
        root: from :func:`selfsup.runtime.cache_folder.cache_path`.
    """
    if not root.is_dir():
        return []
    found: list[Entry] = []
    busy = is_shared(root / "in-use.lock")
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name == STORES:
            found += _stores(folder)
        elif folder.name in _ONE_BY_ONE:
            items = [path for path in folder.iterdir() if not path.name.endswith(".lock")]
            found += [_entry(f"{folder.name}/{path.name}", folder.name, [path], in_use=busy) for path in items]
        elif items := list(folder.iterdir()):
            found.append(_entry(folder.name, folder.name, items, in_use=busy))
    return sorted(found, key=lambda entry: -entry.size)


def clear(root: Path, keys: Iterable[str] = (), *, older_than: float | None = None, dry_run: bool = False) -> Cleared:
    """Remove entries; what a process uses now is kept. All of it can be made again.

    Args:
        root: from :func:`selfsup.runtime.cache_folder.cache_path`.
        keys: of entries, or beginnings of them, or kinds; none: all.
        older_than: only entries that were last used so many seconds ago.
        dry_run: remove nothing, and say what would be removed.

    Raises:
        ConfigError: a key fits no entry.
        StorageError: an entry cannot be removed.
    """
    every = entries(root)
    chosen = list(every)
    if wanted := list(keys):
        for key in wanted:
            if not any(_fits(entry, key) for entry in every):
                raise ConfigError(f"the cache has no entry {key!r}; `selfsup cache list` shows all of them.")
        chosen = [entry for entry in every if any(_fits(entry, key) for key in wanted)]
    if older_than is not None:
        chosen = [entry for entry in chosen if time.time() - entry.used >= older_than]
    removed: list[Entry] = []
    kept: list[Entry] = []
    for entry in chosen:
        gone = not entry.in_use and (dry_run or _remove(entry))
        (removed if gone else kept).append(entry)
    return Cleared(tuple(removed), tuple(kept))


def parse_age(text: str) -> float:
    """``30d``, ``12h``, ``2w`` or a number of days in seconds.

    Raises:
        ConfigError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([dhw]?)", text.strip())
    if match is None:
        raise ConfigError(f"the age {text!r} is not of the form 30d, 12h or 2w.")
    return float(match[1]) * _UNITS[match[2]]


def _stores(folder: Path) -> list[Entry]:
    found = []
    for path in sorted(item for item in folder.iterdir() if item.is_dir()):
        lock = folder / f"{path.name}.lock"
        if path.name.startswith("."):  # one is being made, or was when its process ended
            making = folder / f"{path.name.split('.')[1]}.lock"
            found.append(_entry(f"{STORES}/{path.name}", "unfinished", [path], in_use=is_shared(making)))
            continue
        runs = tuple(run for run in dict.fromkeys(_uses(path)) if (Path(run) / RUN_FILE).is_file())
        header = _json(path / HEADER)
        entry = _entry(
            f"{STORES}/{path.name}",
            STORES,
            [path, *([lock] if lock.exists() else [])],
            source=str(header.get("source", "")),
            runs=runs,
            unfinished=tuple(run for run in runs if _json(Path(run) / RUN_FILE).get("status") != "done"),
            in_use=is_shared(path / HEADER) or is_shared(lock),
        )
        found.append(entry)
    return found


def _entry(key: str, kind: str, paths: list[Path], **values: Any) -> Entry:
    sizes, times = [0], [0.0]
    for path in paths:
        for file in path.rglob("*") if path.is_dir() else [path]:
            with contextlib.suppress(OSError):  # it was removed meanwhile
                state = file.stat()
                sizes.append(state.st_size if file.is_file() else 0)
                times.append(state.st_mtime)
    return Entry(key, kind, sum(sizes), max(times), paths=tuple(paths), **values)


def _fits(entry: Entry, key: str) -> bool:
    return key == entry.kind or entry.key.startswith(key) or entry.key.partition("/")[2].startswith(key)


def _remove(entry: Entry) -> bool:
    """Remove an entry unless someone began to use it; False where someone did."""
    first = entry.paths[0]
    guard = first / HEADER if entry.kind == STORES else None
    with try_lock(guard) as free:
        if not free:
            return False
        for path in entry.paths:
            with storage_errors(path):
                if path.is_dir():
                    # Under another name first: a process that looks for it now finds all of it or nothing.
                    gone = path.with_name(f".{path.name}.removed")
                    path.rename(gone)
                    shutil.rmtree(gone)
                else:
                    path.unlink(missing_ok=True)
    return True


def _uses(store: Path) -> list[str]:
    runs = []
    with contextlib.suppress(OSError):
        for line in (store / USES).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                runs.append(str(json.loads(line)["run"]))
    return runs


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
