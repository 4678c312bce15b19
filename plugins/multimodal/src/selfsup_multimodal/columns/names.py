"""Names of parts, and what columns are usually called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selfsup.errors import ConfigError
from selfsup.registry import ModalitySpec, registry

_PART = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
USUAL: tuple[frozenset[str], ...] = (
    frozenset({"image", "images", "img", "photo", "picture", "pic", "jpg", "jpeg", "png", "webp"}),
    frozenset({"audio", "sound", "recording", "speech", "waveform", "wav", "mp3", "flac"}),
    frozenset({"video", "clip", "movie", "film", "mp4", "webm"}),
    frozenset(
        {
            "text", "texts", "txt", "caption", "captions", "title", "description", "descriptions", "sentence", "sentences",
            "alt", "alt_text", "prompt",
        }
    ),
)  # fmt: skip
"""Groups of names that mean the same. They are for a role whose own name is in the group, whoever registers it."""
_ENDINGS = re.compile(r"_(path|file|filename|filepath|file_name|file_path|bytes|text)$")
IDENTIFIERS = ("id", "key", "__key__", "uid", "uuid", "index", "filename", "file_name", "url", "__url__")
"""Columns of texts that tell rows apart rather than describe them."""


@dataclass(frozen=True)
class Part:
    """One of the things that a row holds."""

    name: str
    """What the user calls it; else the id of its modality."""
    modality: ModalitySpec

    @property
    def kinds(self) -> dict[str, str]:
        """Role to the type of feature that it wants, in lower case; empty where every column is a role."""
        return {role: kind.lower() for role, kind in self.modality.columns.items()}


def parse_parts(texts: Sequence[str]) -> dict[str, Part]:
    """Parts by name, of texts such as ``vision`` or ``front:vision``.

    Raises:
        ConfigError: a text is no such thing, two parts have one name, or a modality joins others itself.
        MissingPluginError: the plugin of a modality is not installed; the message says how to install it.
    """
    parts: dict[str, Part] = {}
    for text in texts:
        name, _, id = text.partition(":")
        spec = registry().get("modality", id or name)
        if not _PART.fullmatch(name):
            raise ConfigError(f"parts: {name!r} is no name for a part; it is of letters, digits, '-' and '_'.")
        if spec.joins:
            raise ConfigError(f"parts: {spec.id} joins parts itself, and cannot be one.")
        if name in parts:
            raise ConfigError(
                f"parts: two parts are called {name!r}; give each a name: parts=[front:{spec.id},back:{spec.id}], for example."
            )
        parts[name] = Part(name, spec)
    return parts


def written(parts: Sequence[Part]) -> str:
    """Parts as ``--set parts=`` takes them: ``[vision,front:vision]``."""
    return (
        "["
        + ",".join(part.name if part.name == part.modality.id else f"{part.name}:{part.modality.id}" for part in parts)
        + "]"
    )


def own_names(part: Part, role: str, *, alone: bool) -> tuple[str, ...]:
    """Names that a column of this role has by rights.

    Args:
        part: whose role it is.
        role: of its modality.
        alone: whether no other part is of this modality: the role's own name then says enough.
    """
    names: tuple[str, ...] = (f"{part.name}/{role}", f"{part.name}_{role}", f"{role}_{part.name}")
    if part.name != part.modality.id:
        names = (*names, part.name)
    return (*names, role) if alone else names


def is_usual(column: str, role: str) -> bool:
    """Whether a column has one of the names that columns of this role usually have."""
    bare = _ENDINGS.sub("", column.lower())
    return any(role in group and bare in group for group in USUAL)


def describes(role: str) -> bool:
    """Whether the only column of texts is taken for this role without further ado: one that says what a text says."""
    return role in USUAL[-1]
