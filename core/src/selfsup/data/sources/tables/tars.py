"""Read tar archives as webdataset writes them: adjacent files with one stem are one sample."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Self, cast

from selfsup.data.sources.file_groups import Content, FileGroups
from selfsup.data.sources.media.files import readable_name
from selfsup.data.sources.tables.encodings import LEAST_BOMB, MOST_RATIO
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
        with file.open("rb") as stream, open_archive(stream) as archive:
            yield from samples_of(archive)


def open_archive(file: IO[bytes]) -> tarfile.TarFile:
    """Open an archive, packed or not, that may be damaged: reading one that is ends with an error that says where.

    Raises:
        tarfile.ReadError: it is no archive.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        archive: Any = _Archive  # its options are not in the stubs
        return cast("tarfile.TarFile", archive.open(fileobj=file, most_bytes=max(MOST_RATIO * size, LEAST_BOMB)))
    except tarfile.ReadError:  # its text lists every way of packing
        raise tarfile.ReadError("it does not begin as an archive does, packed or not") from None


class DamagedArchiveError(tarfile.TarError):
    """A member's header is damaged, or states a size that no member has."""


class _Member(tarfile.TarInfo):
    """A member whose header is checked; the library takes a damaged one for the end of the archive, and any size as it is."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENSIONS and member.size > _MOST_EXTENSION:
            raise DamagedArchiveError(f"a name or other description of a member takes {member.size:,} bytes")
        return member

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Read the next header."""
        archive = cast(_Archive, tarfile)
        try:
            member = super().fromtarfile(archive)
        except _DAMAGE as error:
            if not archive.offset:
                raise
            place = f"{archive.offset:,}"
            raise DamagedArchiveError(f"it is damaged at byte {place} ({error}): make it again, or leave it out") from error
        end = max(archive.offset, member.offset_data + member.size)  # a sparse member takes fewer bytes than its size
        if member.size < 0 or end > archive.most_bytes:
            raise DamagedArchiveError(
                f"member {readable_name(member.name)!r} unpacks to {member.size:,} bytes, far more than the archive has: "
                "it is damaged, or made to fill the memory; if it is neither, unpack the archive and name the .tar"
            )
        return member


class _Archive(tarfile.TarFile):
    tarinfo = _Member

    def __init__(self, *args: Any, most_bytes: int, **options: Any) -> None:
        self.most_bytes = most_bytes
        super().__init__(*args, **options)


_DAMAGE = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]  # not in the stubs
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_MOST_EXTENSION = 1 << 20
"""Most bytes of a member's description."""


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
