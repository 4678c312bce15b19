"""The parts in the info of a processor of joined rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from selfsup.errors import ConfigError
from selfsup.registry import ModalitySpec, registry
from selfsup.types import Info


@dataclass(frozen=True)
class JoinedPart:
    """One part of a joined row."""

    name: str
    modality: str
    info: Info
    """Of the part's own processor."""

    @property
    def spec(self) -> ModalitySpec:
        """The spec of the part's modality.

        Raises:
            MissingPluginError: its plugin is not installed; the message says how to install it.
        """
        return registry().get("modality", self.modality)


def joined_parts(info: Info) -> dict[str, JoinedPart]:
    """The parts in ``{"parts": {name: {"modality": id, "info": {...}}}}``, by name, in order.

    Raises:
        ConfigError: there are none, or a name cannot be used for a part of a network.
    """
    found = info.get("parts") or {}
    if not found:
        raise ConfigError("The batches have no parts to join: use a task of the rows' own modality.")
    taken = nn.ModuleDict()  # an instance has attributes that the class lacks
    for name in found:
        if hasattr(taken, name) or "." in name or not name:
            raise ConfigError(f"A part cannot be called {name!r}: give it another name (processor.parts=[NAME:MODALITY,...]).")
    return {name: JoinedPart(name, part["modality"], part["info"]) for name, part in found.items()}


def check_names(given: Iterable[str], parts: Iterable[str], option: str) -> None:
    """Check that options (``option``, such as ``backbone.towers``) are given only for known parts.

    Raises:
        ConfigError: a name is unknown.
    """
    known = list(parts)
    for name in given:
        if name not in known:
            raise ConfigError(f"{option}.{name} names no part of these rows; their parts are {', '.join(known)}.")
