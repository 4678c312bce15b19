"""Read folders with sidecar files: ``a.jpg`` and its caption ``a.txt``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.file_groups import Content, FileGroups
from selfsup.data.sources.folders import walk_files
from selfsup.data.sources.media.files import readable_name
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.files import storage_errors
from selfsup.runtime.findings import Findings, listed_names

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

_Groups = dict[str, dict[str, str]]
"""Key to extension to the path of the file below the folder."""


def read_sidecars(root: Path, modalities: Iterable[ModalitySpec], encoding: str = "") -> tuple[Any, str, Findings] | None:
    """The files below a folder as a ``datasets.Dataset``, a row for each stem; None if there are no media.

    Files with the same name apart from the suffix are a row, in one folder (``cats/a.jpg``, ``cats/a.txt``) or in two
    (``images/a.jpg``, ``captions/a.txt``). Each line of a text is a caption. Several first-level folders are classes, in the
    column ``label``.

    Returns:
        The rows, a hash over path, size and time of modification of each file, and the findings.
    """
    specs = tuple(modalities)
    reader = FileGroups(
        specs, lines=True, encoding=encoding, path_of=lambda key, extension: readable_name(groups[key][extension])
    )
    digest, found = hashlib.sha256(encoding.encode()), list[str]()
    for file in walk_files(root, ("",)):
        if reader.kind_of(_extension(file.relative)):
            found.append(file.relative)
            digest.update(f"{file.relative}\0{file.size}\0{file.modified}\n".encode("utf-8", "surrogateescape"))
        else:
            reader.passed_over[PurePosixPath(file.relative).suffix.lower()] += 1
    together = _grouped(found, drop=0)
    across = _grouped(found, drop=1)
    parallel = _joined(across, reader) > _joined(together, reader)
    whole = across if parallel else together
    groups = {key: files for key, files in whole.items() if _media(files, reader)}
    if not groups:
        return None
    classes = sorted({key.partition("/")[0] for key in groups}) if all("/" in key for key in groups) else []
    labelled = len(classes) > 1 and not parallel
    findings = Findings()
    alone = sorted(path for key, files in whole.items() if key not in groups for path in files.values())
    if alone:
        shown = listed_names(alone, 3)
        findings.warn(f"Texts without an image, recording or video beside them are skipped: {len(alone)} ({shown}).")
    without = sum(not any(reader.kind_of(ext) in ("text", "json") for ext in files) for files in groups.values())
    if without and any(reader.kind_of(ext) in ("text", "json") for files in groups.values() for ext in files):
        findings.add("captions", f"{without} of {len(groups)} rows have no text beside them")
    elif without == len(groups):
        findings.add("captions", f"none beside the {len(groups)} rows (a.txt beside a.jpg)")

    def rows() -> Iterator[tuple[str, Mapping[str, Content]]]:
        for key, files in groups.items():
            members = {extension: (root / path).read_bytes for extension, path in files.items()}
            if labelled:
                members["cls"] = partial(str.encode, readable_name(key.partition("/")[0]))
            yield key, members

    cache = cache_root() / "folders"
    with storage_errors(cache, hint="Listings are kept below the folder that SELFSUP_CACHE names."):
        cache.mkdir(parents=True, exist_ok=True)
        dataset = reader.write(rows, cache / f"sidecars-{digest.hexdigest()[:32]}.arrow")
    reader.taken.pop(".cls", None)
    reader.tell(findings)
    return dataset, digest.hexdigest(), findings


def _extension(path: str) -> str:
    return PurePosixPath(path).suffix.lower().removeprefix(".")


def _grouped(files: Sequence[str], *, drop: int) -> _Groups:
    """Files by their path without suffix, and without its first ``drop`` folders."""
    groups: _Groups = {}
    for file in files:
        path = PurePosixPath(file)
        parts = path.with_suffix("").parts
        key = "/".join(parts[drop:] if len(parts) > drop else parts)
        extension = _extension(file)
        if extension not in (group := groups.setdefault(key, {})):
            group[extension] = file
        else:  # the same name and suffix in two folders: not a pair
            groups[str(path.with_suffix(""))] = {extension: file}
    return groups


def _media(files: Mapping[str, str], reader: FileGroups) -> set[str]:
    return {reader.kind_of(extension) for extension in files} & set(MEDIA)


def _joined(groups: _Groups, reader: FileGroups) -> int:
    """Number of groups with files of at least two kinds, one of them a medium."""
    return sum(bool(_media(files, reader)) and len({reader.kind_of(ext) for ext in files}) > 1 for files in groups.values())
