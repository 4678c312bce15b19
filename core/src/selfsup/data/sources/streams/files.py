"""Find the files of a source that can be read row by row, on this machine or through fsspec."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.layout import SPLIT_NAMES, of_one_kind, parts_of
from selfsup.data.sources.load import cut_split
from selfsup.data.sources.streams.remote_files import described, infos, persistently
from selfsup.data.sources.streams.shards import open_file
from selfsup.data.sources.tables.encodings import find_encoding
from selfsup.data.sources.tables.tars import TAR_SUFFIXES
from selfsup.errors import SourceError

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

_PACKED = (".gz", ".bz2", ".xz")
JSON = (".jsonl", ".ndjson")
_LINES = (*JSON, ".txt")
_STREAMED = (*TAR_SUFFIXES, ".parquet", *_LINES, *(f"{line}{packed}" for line in _LINES for packed in _PACKED))
MAGIC = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BLOCK = 1 << 20


def files_of(text: str, modality: ModalitySpec, split: str) -> tuple[list[str], str, str, str, Path | None]:
    """The files that can be read row by row, their fingerprint, what the user calls them, the split, and where paths start."""
    if "://" in text:
        marks = _remote_files(text, modality, split)
        return list(marks), _fingerprint(marks), text, split, None
    files, name, part, root = _local_files(text, modality, split)
    marks = {file: mark_of(about) for file, about in zip(files, _local_infos(files), strict=True)}
    return files, _fingerprint(marks) if files else "", name, part, root


def _local_files(text: str, modality: ModalitySpec, split: str) -> tuple[list[str], str, str, Path | None]:
    name, explicit = cut_split(text)
    part = explicit or split
    path = Path(name).expanduser()
    if not path.exists() and MAGIC.search(name):
        found = expanded(name)
        if not found:
            raise SourceError(f"No file fits {name}.")
        _check_kinds(found, name)
        return found, name, part, Path(found[0]).parent
    if path.is_file():
        listed = kind_of(path.name) == ".txt" and "string" not in modality.columns.values()  # a list of files
        return ([str(path)] if kind_of(path.name) and not listed else []), name, part, path.parent
    if not path.is_dir():
        return [], name, part, None
    parts = parts_of(path, modality)
    if parts and part not in parts:
        raise SourceError(f"{name} has no {part!r} split; it has {', '.join(parts)}.")
    places = parts.get(part, [path])
    files = sorted(places[0].iterdir()) if places[0].is_dir() else places
    there = [file for file in files if file.is_file() and not file.name.startswith(".")]
    media = modality.suffixes if modality.columns else ()
    kinds = [file for file in there if kind_of(file.name) and not file.name.lower().endswith(media)]
    chosen, _ = of_one_kind(kinds) if kinds else ([], [])
    if any(file.name.lower().endswith(media) for file in there) or (places[0].is_dir() and any(map(Path.is_dir, files))):
        chosen = [file for file in chosen if kind_of(file.name) == ".tar"]  # notes beside files, not data
    return [str(file) for file in chosen], name, part, places[0] if places[0].is_dir() else path


def media_column(modality: ModalitySpec) -> str:
    """The role of single files of a modality's suffixes; empty where a row is something else."""
    roles = [role for role, kind in modality.columns.items() if kind.lower() in MEDIA]
    return roles[0] if len(roles) == 1 and modality.suffixes else ""


@contextmanager
def listing_errors(text: str) -> Iterator[None]:
    """Raise what a file system's client raises within the block as a SourceError."""
    try:
        yield
    except ImportError as error:
        raise SourceError(f"{text} needs a package that is not installed: {error}.") from error
    except Exception as error:  # each file system raises what its client raises
        raise SourceError(f"Cannot list {text}: {described(error)}") from error


def _remote_files(text: str, modality: ModalitySpec, split: str) -> dict[str, tuple[Any, str]]:
    """URLs to the marks of their files. Each file is asked for once, and many at a time."""
    import fsspec  # type: ignore[import-untyped]

    found: list[str] = []
    known: dict[str, dict[str, Any] | None] = {}
    with listing_errors(text):
        system, _ = fsspec.core.url_to_fs(text)
        places = [system._strip_protocol(url) for url in braced(text)]
        named = [place for place in places if kind_of(place) and not MAGIC.search(place)]
        known |= zip(named, infos(system, named), strict=True)
        for place in places:
            if MAGIC.search(place):
                found += sorted(persistently(partial(system.glob, place), place, refused=False))
            elif (about := known.get(place)) is not None and about.get("type", "file") == "file":
                found.append(place)
            elif place in known and about is None:
                continue
            elif system.isdir(place):
                names = persistently(partial(system.ls, place, detail=False), place, refused=False)
                found += _of_split(sorted(item for item in names if kind_of(item)), split)
            elif system.exists(place):
                found.append(place)
    if not found:
        own = f", and folders of {', '.join(modality.suffixes[:3])}, ... files" if media_column(modality) else ""
        raise SourceError(
            f"There is nothing at {text} that can be streamed: archives (.tar), .parquet, .jsonl or .txt{own}. Pack other "
            "files into archives, convert other tables to Parquet, or copy them to this machine."
        )
    _check_kinds(found, text)
    with listing_errors(text):
        rest = [place for place in found if place not in known]
        known |= zip(rest, infos(system, rest), strict=True)
    return {system.unstrip_protocol(place): mark_of(known[place] or {}) for place in found}


def _check_kinds(files: Sequence[str], name: str) -> None:
    if others := [file for file in files if not kind_of(file)]:
        raise SourceError(
            f"{name} names {others[0]}, which cannot be streamed: archives (.tar), .parquet, .jsonl and .txt can, and folders. "
            "Convert other tables to Parquet."
        )


def _of_split(files: list[str], split: str) -> list[str]:
    """Those whose names begin with the split's; all where no name begins with any split's."""
    known = {part: re.compile(rf"({'|'.join(names)})([-_.].*)?", re.IGNORECASE) for part, names in SPLIT_NAMES.items()}
    by_split = {part: [file for file in files if form.fullmatch(PurePosixPath(file).name)] for part, form in known.items()}
    return by_split[split] if any(by_split.values()) else files


def kind_of(name: str) -> str:
    """``.tar``, ``.parquet``, ``.jsonl``, ..., without a suffix of compression; empty where it cannot be streamed."""
    lower = name.lower()
    found = next((suffix for suffix in sorted(_STREAMED, key=len, reverse=True) if lower.endswith(suffix)), "")
    return next((f".{part}" for part in found.split(".") if part), "")


def expanded(pattern: str) -> list[str]:
    """Files on this machine that fit a pattern with ``*``, ``?``, ``[...]`` or ``{a,b}``, ``{000..127}``."""
    found: list[str] = []
    for name in braced(str(Path(pattern).expanduser())):
        path = Path(name)
        if re.search(r"[*?\[]", name):
            found += sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))
        elif path.is_file():
            found.append(name)
    return found


def braced(text: str) -> list[str]:
    """A pattern with braces as all texts that it stands for."""
    match = _BRACES.search(text)
    if match is None:
        return [text]
    inner = match[1]
    if span := _RANGE.fullmatch(inner):
        width = len(span[1])
        choices = [f"{number:0{width}d}" for number in range(int(span[1]), int(span[2]) + 1)]
    else:
        choices = inner.split(",")
    head, tail = text[: match.start()], text[match.end() :]
    return [done for choice in choices for done in braced(f"{head}{choice}{tail}")]


def encoding_of(url: str, given: str) -> str:
    """The encoding of a file of lines: the given one, or what its beginning tells."""
    with open_file(url, unpack=True) as file:
        block = file.read(_BLOCK)
    # The last letter may be cut.
    return find_encoding(iter([block.rsplit(b"\n", 1)[0] if b"\n" in block else block]), url, given).name


def mark_of(about: Mapping[str, Any]) -> tuple[Any, str]:
    """Size of a file, and what its file system says of its content or of when it changed.

    Args:
        about: from ``info`` of the file system.
    """
    mark = next((about[key] for key in ("ETag", "etag", "mtime", "LastModified", "created") if about.get(key)), "")
    return about.get("size"), str(mark)


def _local_infos(files: Sequence[str]) -> list[Mapping[str, Any]]:
    """What the file system of this machine knows of each file."""
    import fsspec

    system = fsspec.filesystem("file")
    return [system.info(file) for file in files]


def _fingerprint(marks: Mapping[str, tuple[Any, str]]) -> str:
    """Hash of the names and sizes of the files, and of when they changed where that is said."""
    digest = hashlib.sha256()
    for url, mark in marks.items():
        digest.update(json.dumps([PurePosixPath(url).name, *mark]).encode())
    return digest.hexdigest()


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; hidden ones are passed over."""
    total = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            try:
                total += Path(place, name).stat().st_size
            except OSError:  # a link that leads nowhere
                continue
    return total
