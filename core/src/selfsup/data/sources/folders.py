"""Read folders of media files as data sets."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsup.data.sources.media.files import readable_name
from selfsup.data.sources.tables.encodings import decode_text, shown_encoding
from selfsup.errors import SourceError
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.files import give_name, storage_errors
from selfsup.runtime.findings import Findings, listed_names
from selfsup.runtime.temporary_files import temporary_file

_BATCH = 4096
NAME_COLUMN = "path"
"""Column for the names of the files in a folder of texts."""
_IGNORED = ("__MACOSX",)


@dataclass(frozen=True)
class FoundFile:
    """One media file below a folder, or a folder of frames."""

    relative: str
    """Path below the folder, with ``/``."""
    size: int
    """In bytes; for frames: of all of them."""
    modified: int
    """In nanoseconds; for frames: a hash of the name, size and time of each."""

    @property
    def folder(self) -> str:
        """The first-level folder that it is in, or empty."""
        head, _, tail = self.relative.partition("/")
        return head if tail else ""


def walk_files(
    root: Path,
    suffixes: tuple[str, ...],
    frame_suffixes: tuple[str, ...] = (),
    passed_over: Counter[str] | None = None,
) -> Iterator[FoundFile]:
    """The files below ``root`` with one of the suffixes, in sorted order, a folder at a time.

    Hidden files and folders are skipped. A broken link counts as a file and becomes a bad row when it is decoded. Links to
    folders are followed, but no folder is entered twice. A folder below ``root`` that holds files with ``frame_suffixes``, and
    neither folders nor files with ``suffixes``, is one result. ``passed_over`` counts the suffixes of the other files.

    Raises:
        SourceError: a folder cannot be listed.
    """
    yield from _walk(root, "", suffixes, frame_suffixes, set(), Counter() if passed_over is None else passed_over)


def _walk(
    folder: Path,
    prefix: str,
    suffixes: tuple[str, ...],
    frame_suffixes: tuple[str, ...],
    entered: set[tuple[int, int]],
    passed_over: Counter[str],
) -> Iterator[FoundFile]:
    entries = _listed(folder)
    try:
        status = folder.stat()
    except OSError as error:
        raise SourceError(f"Cannot read {folder}: {error.strerror or error}.") from error
    if (status.st_dev, status.st_ino) in entered:
        return
    entered.add((status.st_dev, status.st_ino))
    if prefix and frame_suffixes and (frames := _frames(entries, suffixes, frame_suffixes)) is not None:
        yield FoundFile(prefix.removesuffix("/"), *frames)
        return
    for entry in entries:
        if _is_folder(entry):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", suffixes, frame_suffixes, entered, passed_over)
        elif entry.name.lower().endswith(suffixes):
            yield FoundFile(prefix + entry.name, *_size_and_time(entry))
        else:
            passed_over[readable_name(Path(entry.name).suffix.lower())] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Size and time of a file; zeros for a broken link, which becomes a bad row."""
    try:
        found = entry.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _frames(
    entries: list[os.DirEntry[str]], suffixes: tuple[str, ...], frame_suffixes: tuple[str, ...]
) -> tuple[int, int] | None:
    """Size and hash of the frames in a folder; None if it is not a folder of frames."""
    if any(_is_folder(entry) or entry.name.lower().endswith(suffixes) for entry in entries):
        return None
    files = (entry for entry in entries if entry.name.lower().endswith(frame_suffixes) and Path(entry.path).is_file())
    frames = [(entry.name, entry.stat()) for entry in files]
    if not frames:
        return None
    text = "\n".join(f"{name}\0{status.st_size}\0{status.st_mtime_ns}" for name, status in frames)
    mark = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return sum(status.st_size for _, status in frames), int.from_bytes(mark[:8])


def _is_wanted(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.name not in _IGNORED


def read_media_folder(
    root: Path, role: str, suffixes: tuple[str, ...], *, as_text: bool, frame_suffixes: tuple[str, ...] = (), encoding: str = ""
) -> tuple[Any, str, str, Findings] | None:
    """The media files below a folder as a data set, or None if there are none.

    First-level folders are the classes, if all files are in one. The listing is streamed to an Arrow file in the cache, so that
    memory does not grow with the number of files.

    Args:
        root: the folder.
        role: the column for the files.
        suffixes: of the media files.
        as_text: store the content of the files instead of their paths.
        frame_suffixes: of frames; see :func:`walk_files`.
        encoding: of texts; empty: detected for each file.

    Returns:
        The data set (columns ``role``, with ``as_text`` ``path``, and with classes ``label``); a hash over path, size and time
        of modification of each file (with ``as_text``: over the content); the name of a file outside of the class folders, or
        empty; the findings.
    """
    import datasets
    import pyarrow as pa

    classes, outside = _classes(root, suffixes, frame_suffixes)
    if not classes and not outside:
        return None
    file_feature = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features: dict[str, Any] = {role: datasets.Value("string") if as_text else file_feature}
    if as_text:
        features[NAME_COLUMN] = datasets.Value("string")
    if not outside:
        features["label"] = datasets.ClassLabel(names=[readable_name(name) for name in classes])
    schema = datasets.Features(features).arrow_schema
    place = {name: index for index, name in enumerate(classes)}
    digest = hashlib.sha256()
    taken, passed_over, encodings = Counter[str](), Counter[str](), _Encodings(encoding)
    cache = cache_root() / "folders"
    with storage_errors(cache, hint="Listings are kept below the folder that SELFSUP_CACHE names."):
        cache.mkdir(parents=True, exist_ok=True)
        with temporary_file(cache / "rows") as temporary:
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                found = walk_files(root, suffixes, frame_suffixes, passed_over)
                if as_text:  # a file that cannot be read is no text, and no later step reports it
                    found = (file for file in found if (root / file.relative).is_file())
                while files := list(itertools.islice(found, _BATCH)):
                    values: list[Any] = []
                    for file in files:
                        value, mark = _value(root, file, encodings if as_text else None)
                        values.append(value)
                        taken[Path(file.relative).suffix.lower()] += 1
                        digest.update(mark)
                    columns = [values]
                    if as_text:
                        columns.append([readable_name(file.relative) for file in files])
                    if not outside:
                        columns.append([place.get(file.folder) for file in files])
                    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
                    writer.write_batch(pa.record_batch(arrays, schema=schema))
            final = cache / f"{digest.hexdigest()[:32]}.arrow"
            give_name(temporary, final)
    findings = Findings()
    findings.add_files(taken, passed_over)
    if as_text:
        encodings.tell(findings)
    return datasets.Dataset.from_file(str(final)), digest.hexdigest(), outside, findings


class _Encodings:
    """The encodings of the texts in a folder."""

    def __init__(self, given: str) -> None:
        self.given = given
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.damaged: list[str] = []
        self.unread: list[str] = []

    def text(self, content: bytes, name: str) -> str | None:
        """The text of a file; None if it cannot be read as text."""
        try:
            text, found = decode_text(content, name, self.given)
        except SourceError as error:
            self.unread.append(str(error))
            return None
        self.counts[found.name] += 1
        if found.example:
            self.examples.setdefault(found.name, shown_encoding(found))
        if found.damaged:
            self.damaged.append(name)
        return text

    def tell(self, findings: Findings) -> None:
        """Note the encodings.

        Raises:
            SourceError: no file can be read.
        """
        if not self.counts:
            raise SourceError(f"None of the {len(self.unread)} files can be read as text. {self.unread[0]}")
        if self.unread:
            findings.warn(f"{len(self.unread)} files cannot be read as text. The first: {self.unread[0]}")
        shown = [f"{count} {self.examples.get(name, name)}" for name, count in self.counts.most_common()]
        findings.add("encoding", listed_names(shown) if len(self.counts) > 1 else shown[0].split(" ", 1)[1])
        if self.damaged:
            findings.warn(
                f"{len(self.damaged)} files hold bytes that are invalid in their encoding and are read as \ufffd: "
                f"{listed_names(self.damaged, 3)}. --encoding sets another encoding."
            )


def _classes(root: Path, suffixes: tuple[str, ...], frame_suffixes: tuple[str, ...]) -> tuple[list[str], str]:
    """The first-level folders that hold media files, sorted, and the name of a media file (or folder of frames) beside them."""
    classes, outside = [], ""
    for entry in _listed(root):
        if _is_folder(entry):
            if next(walk_files(root / entry.name, suffixes, frame_suffixes), None) is not None:
                classes.append(entry.name)
            elif not outside and frame_suffixes and _frames(_listed(root / entry.name), suffixes, frame_suffixes) is not None:
                outside = entry.name
        elif not outside and entry.name.lower().endswith(suffixes):
            outside = entry.name
    return classes, outside


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, without hidden ones."""
    try:
        with os.scandir(folder) as listing:
            return sorted((entry for entry in listing if _is_wanted(entry)), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"Cannot list {folder}: {error.strerror or error}.") from error


def _value(root: Path, file: FoundFile, encodings: _Encodings | None) -> tuple[Any, bytes]:
    """The value of a file in the column, and its bytes for the hash."""
    if encodings is None:
        mark = f"{file.relative}\0{file.size}\0{file.modified}\n".encode("utf-8", "surrogateescape")
        return {"bytes": None, "path": readable_name(file.relative)}, mark
    try:
        content = (root / file.relative).read_bytes()
    except OSError as error:
        raise SourceError(f"Cannot read {root / file.relative}: {error.strerror or error}.") from error
    mark = f"{file.relative}\0{len(content)}\n".encode("utf-8", "surrogateescape") + content
    text = encodings.text(content, file.relative)
    return text, mark + encodings.given.encode()
