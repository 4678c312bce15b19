"""Read tar archives as webdataset writes them: adjacent files with one stem are one sample."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.file_groups import Content, FileGroups
from selfsup.errors import SourceError
from selfsup.runtime.findings import Findings

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

TAR_SUFFIXES = (".tar", ".tar.gz", ".tar.bz2", ".tar.xz")


def read_tars(
    files: Sequence[Path], target: Path, modalities: Iterable[ModalitySpec], *, lines: bool, encoding: str = ""
) -> tuple[Any, Findings]:
    """The samples of archives as a ``datasets.Dataset``, written into the Arrow file ``target``.

    A member's name is a key up to the first dot of its last part, and an extension; adjacent members with one key are a row
    (``FileGroups``). Links, folders and hidden files are skipped; nothing is unpacked to disk.

    Args:
        files: the archives.
        target: written unless it exists.
        modalities: their suffixes are media files.
        lines: whether each line of a text is a text of its own.
        encoding: of texts; empty: detected.

    Raises:
        SourceError: an archive is damaged or holds no sample.
    """
    groups = FileGroups(modalities, lines=lines, encoding=encoding)
    findings = Findings()
    try:
        dataset = groups.write(partial(_samples, files), target)
    except tarfile.TarError as error:
        raise SourceError(f"Cannot read {', '.join(map(str, files[:3]))} as a tar archive: {error}") from error
    groups.tell(findings)
    return dataset, findings


def _samples(files: Sequence[Path]) -> Iterator[tuple[str, dict[str, Content]]]:
    """Key and members of each sample, in the order of the archives."""
    for file in files:
        with tarfile.open(file) as archive:
            yield from samples_of(archive)


def samples_of(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, Content]]]:
    """Key and members of each sample of an open archive; read its members before the next sample."""
    key, members = "", dict[str, Content]()
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # the list would fill the memory
        path = PurePosixPath(member.name)
        stem, dot, extension = path.name.partition(".")
        if not member.isfile() or not stem or not dot or "__MACOSX" in path.parts:
            continue
        own = f"{str(path)[: -len(path.name)]}{stem}"
        if own != key and members:
            yield key, members
            members = {}
        key = own
        members[extension.lower()] = partial(_content, archive, member)
    if members:
        yield key, members


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream is not None else b""
