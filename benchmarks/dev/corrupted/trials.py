"""Give inputs to the product as a user does, and say what became of each."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from corrupted.media_files import MEDIA, SETTINGS
from corrupted.saved_files import SAVED, try_saved
from corrupted.structure import damaged_file
from corrupted.table_files import TABLES
from selfsup.errors import SelfsupError
from selfsup.runtime.progress import make_reporter
from selfsup.training.run.prepare_rows import prepare_data
from selfsup.training.run.resolve import resolve_config

READ, REFUSED, UNCLEAR = "read", "refused", "unclear"
TASKS: dict[str, dict[str, Any]] = {
    "vision": {"task": "vision/simclr", "backbone": "resnet-narrow"},
    "audio": {"task": "audio/simclr"},
    "video": {"task": "video/simclr"},
    "tabular": {"task": "tabular/scarf"},
    "text": {"task": "text/mlm", "processor.vocab_size": 128, "processor.packing": "none"},
}
"""The pretraining whose rows are prepared."""
KINDS = (*MEDIA, *TABLES, *SAVED)


@dataclass(frozen=True)
class Result:
    """What became of one input."""

    kind: str
    seed: int
    outcome: str
    """``read``, ``refused`` (named, with a reason) or ``unclear``: an error that is none of selfsup's or names no file."""
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def per_job(kind: str) -> int:
    """Inputs that are tried together: files of one folder are rows of one source, and all else is tried one by one."""
    return 16 if kind in MEDIA else 4 if kind in KINDS else 0


def attempt(kind: str, seeds: Sequence[int], folder: Path) -> list[Result]:
    """Try the inputs of these seeds, in an empty folder."""
    with _cache(folder / "cache"):
        if kind in MEDIA:
            return _media(kind, seeds, folder)
        if kind in SAVED:
            return [
                _judged(kind, seed, partial(try_saved, kind, seed, folder / str(seed)), f"/{seed}/", "rows.txt")
                for seed in seeds
            ]
        return [_table(kind, seed, folder) for seed in seeds]


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    former = os.environ.get("SELFSUP_CACHE")
    os.environ["SELFSUP_CACHE"] = str(folder)
    try:
        yield
    finally:
        if former is None:
            del os.environ["SELFSUP_CACHE"]
        else:
            os.environ["SELFSUP_CACHE"] = former


def whole(kind: str) -> bytes:
    """The file before it is damaged."""
    if kind not in _WHOLE:
        _WHOLE[kind] = (MEDIA.get(kind) or TABLES[kind])[1]()
    return _WHOLE[kind]


_WHOLE: dict[str, bytes] = {}
_OTHERS = ("png", "wav", "csv", "parquet", "json")


def spoilt(kind: str, seed: int) -> bytes:
    """The file of a seed."""
    return damaged_file(whole(kind), kind.rpartition(".")[2], seed, tuple(whole(other) for other in _OTHERS if other != kind))


def prepare(source: Path, modality: str, **options: Any) -> Any:
    """Read and process the rows of a source as the pretraining does."""
    chosen = {**TASKS[modality], "batch_size": 2, "steps": 1, "max_bad_rows": 1.0, **options}
    chosen |= {f"processor.{name}": value for name, value in SETTINGS.get(modality, {}).items()}
    with make_reporter(False) as reporter:
        return prepare_data(resolve_config({**chosen, "data": str(source)}), reporter)


def _media(kind: str, seeds: Sequence[int], folder: Path) -> list[Result]:
    modality = MEDIA[kind][0]
    suffix = kind.rpartition(".")[2]
    files = folder / "files"
    files.mkdir()
    for name in ("y-whole", "z-whole"):
        (files / f"{name}.{suffix}").write_bytes(whole(kind))
    for seed in seeds:
        (files / f"{seed:06}.{suffix}").write_bytes(spoilt(kind, seed))
    names = [f"{seed:06}.{suffix}" for seed in sorted(seeds)]
    results: list[Result] = []
    try:
        store = prepare(files, modality).looked_at
    except Exception as error:
        return [Result(kind, seed, UNCLEAR, _described(error)) for seed in seeds]
    bad = dict(store.bad_rows)
    for place, (seed, name) in enumerate(zip(sorted(seeds), names, strict=True)):
        if place not in bad:
            results.append(Result(kind, seed, READ))
        elif bad[place].startswith(f"row {place} ({name}): "):
            results.append(Result(kind, seed, REFUSED, bad[place]))
        else:
            results.append(Result(kind, seed, UNCLEAR, bad[place]))
    store.close()
    return results


def _table(kind: str, seed: int, folder: Path) -> Result:
    file = folder / f"{seed:06}.{kind}"
    file.write_bytes(spoilt(kind, seed))
    return _judged(kind, seed, lambda: prepare(file, TABLES[kind][0]).looked_at.close(), f"{seed:06}.")


def judge(kind: str, seed: int, run: Callable[[], object], name: str) -> Result:
    """What becomes of an input that ``run`` reads; an error must name it by ``name``."""
    return _judged(kind, seed, run, name)


def _judged(kind: str, seed: int, run: Callable[[], object], *names: str) -> Result:
    try:
        run()
    except SelfsupError as error:
        text = str(error)
        if (names and not any(name in text for name in names)) or not _is_printable(text):
            return Result(kind, seed, UNCLEAR, f"names no file, or is not printable: {_described(error)}")
        return Result(kind, seed, REFUSED, f"{type(error).__name__}: {text}")
    except Exception as error:
        return Result(kind, seed, UNCLEAR, _described(error))
    return Result(kind, seed, READ)


def _is_printable(text: str) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in text)


def _described(error: BaseException) -> str:
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__}: {str(error)[:300]} [{' '.join(where[-6:])}]"
