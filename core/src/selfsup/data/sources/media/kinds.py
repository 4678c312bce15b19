"""Detect the kind of a media file by its suffix and its first bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from selfsup.data.sources.columns.roles import MEDIA, feature_name

if TYPE_CHECKING:
    from selfsup.registry.specs import ModalitySpec

_MOST = 0.8
"""Share of the values that must have the kind."""
_SUFFIXES: Mapping[str, str] = {
    "image": ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .dib .tif .tiff .tga .avif .heic .heif .jp2 .ppm .pgm .pbm .pnm",
    "audio": ".wav .wave .flac .mp3 .mp2 .ogg .oga .opus .m4a .aac .aiff .aif .au .wma .amr .caf .weba",
    "video": ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .m2v .mts .m2ts .ogv .wmv .flv .3gp",
}
_KIND_OF: Mapping[str, str] = {suffix: kind for kind, text in _SUFFIXES.items() for suffix in text.split()}
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG", "image"), (0, b"\xff\xd8\xff", "image"), (0, b"GIF8", "image"), (0, b"BM", "image"),
    (0, b"II*\x00", "image"), (0, b"MM\x00*", "image"), (8, b"WEBP", "image"), (8, b"WAVE", "audio"), (8, b"AVI ", "video"),
    (0, b"fLaC", "audio"), (0, b"OggS", "audio"), (0, b"ID3", "audio"), (0, b"\xff\xfb", "audio"), (0, b"FORM", "audio"),
    (4, b"ftypavif", "image"), (4, b"ftyphei", "image"), (4, b"ftypM4A", "audio"), (4, b"ftyp", "video"),
    (0, b"\x1aE\xdf\xa3", "video"), (0, b"\x00\x00\x01\xba", "video"), (0, b"FLV", "video"),
)  # fmt: skip
"""Offset, bytes and kind of file; the first match counts (from the specifications of the formats)."""


def kind_of_path(path: str, modalities: Iterable[ModalitySpec] = ()) -> str:
    """``image``, ``audio`` or ``video`` by the suffix of a path, also by suffixes of ``modalities``; empty if unknown."""
    suffix = PurePath(path).suffix.lower()
    if suffix in _KIND_OF or not suffix:
        return _KIND_OF.get(suffix, "")
    kinds = {next(iter(spec.columns.values())).lower() for spec in modalities if suffix in spec.suffixes and spec.columns}
    kinds &= set(MEDIA)
    return kinds.pop() if len(kinds) == 1 else ""


def kind_of_bytes(content: bytes) -> str:
    """``image``, ``audio`` or ``video`` by the first bytes of a file; empty if unknown."""
    return next((kind for place, mark, kind in _MARKS if content[place : place + len(mark)] == mark), "")


def looks_like_paths(values: Sequence[Any], suffixes: tuple[str, ...] = ()) -> bool:
    """Whether texts are paths of files with these suffixes; without suffixes: of media files."""
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    if suffixes:
        found = sum(text.lower().endswith(suffixes) for text in texts)
    else:
        found = sum(bool(kind_of_path(text)) for text in texts)
    return bool(texts) and found >= _MOST * len(texts)


def medium_of(feature: Any, values: Sequence[Any], modalities: Iterable[ModalitySpec] = ()) -> str:
    """``image``, ``audio`` or ``video``: the medium of a column; empty if it holds something else or is unknown.

    Args:
        feature: of the column.
        values: some of its values.
        modalities: their suffixes are known in addition to the usual ones.
    """
    name = feature_name(feature).lower()
    if name in MEDIA:
        return name
    specs, found = list(modalities), []
    for value in values:
        if isinstance(value, bytes):
            found.append(kind_of_bytes(value[:16]))
        elif isinstance(value, str):
            found.append(kind_of_path(value, specs))
        elif isinstance(value, Mapping) and {"bytes", "path"} >= set(value):
            by_name = kind_of_path(value.get("path") or "", specs)
            found.append(by_name or kind_of_bytes((value.get("bytes") or b"")[:16]))
        elif isinstance(value, Mapping) and {"array", "sampling_rate"} <= set(value):
            found.append("audio")
    kinds = {kind for kind in found if kind}
    return kinds.pop() if len(kinds) == 1 and sum(map(bool, found)) >= _MOST * len(values) else ""
