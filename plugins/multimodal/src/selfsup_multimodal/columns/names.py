"""Names of parts, and usual names of columns."""

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
"""Groups of synonyms. A group applies to every role whose own name is in it."""
_ENDINGS = re.compile(r"_(path|file|filename|filepath|file_name|file_path|bytes|text)$")
IDENTIFIERS = ("id", "key", "__key__", "uid", "uuid", "index", "filename", "file_name", "url", "__url__")
"""Names of text columns that identify rows and do not describe them."""


@dataclass(frozen=True)
class Part:
    """One part of a row."""

    name: str
    """The user's name for it, or the id of its modality."""
    modality: ModalitySpec

    @property
    def kinds(self) -> dict[str, str]:
        """By role: the feature type that it needs, in lower case; empty if the part takes any column (tables)."""
        return {role: kind.lower() for role, kind in self.modality.columns.items()}


def parse_parts(texts: Sequence[str]) -> dict[str, Part]:
    """Parse parts such as ``vision`` or ``front:vision``, by name.

    Raises:
        ConfigError: a name is not allowed or used twice, or a modality joins others itself.
        MissingPluginError: the plugin of a modality is not installed; the message says how to install it.
    """
    parts: dict[str, Part] = {}
    for text in texts:
        name, _, id = text.partition(":")
        spec = registry().get("modality", id or name)
        if not _PART.fullmatch(name):
            raise ConfigError(f"parts: {name!r} is not a valid name of a part; use letters, digits, '-' and '_'.")
        if spec.joins:
            raise ConfigError(f"parts: {spec.id} joins parts itself and cannot be one.")
        if name in parts:
            raise ConfigError(
                f"parts: two parts are called {name!r}; give each a name: parts=[front:{spec.id},back:{spec.id}], for example."
            )
        parts[name] = Part(name, spec)
    return parts


def written(parts: Sequence[Part]) -> str:
    """Parts as ``--set parts=`` takes them: ``[vision,front:vision]``."""
    names = (part.name if part.name == part.modality.id else f"{part.name}:{part.modality.id}" for part in parts)
    return f"[{','.join(names)}]"


def own_names(part: Part, role: str, *, alone: bool) -> tuple[str, ...]:
    """Column names that identify a role of a part.

    ``alone`` says that no other part has this modality: the role's own name is then enough.
    """
    names: tuple[str, ...] = (f"{part.name}/{role}", f"{part.name}_{role}", f"{role}_{part.name}")
    if part.name != part.modality.id:
        names = (*names, part.name)
    return (*names, role) if alone else names


def is_usual(column: str, role: str) -> bool:
    """Whether a column has a usual name of this role."""
    bare = _ENDINGS.sub("", column.lower())
    return any(role in group and bare in group for group in USUAL)


def describes(role: str) -> bool:
    """Whether a single column of texts may be used for this role whatever its name: roles such as text or caption."""
    return role in USUAL[-1]
