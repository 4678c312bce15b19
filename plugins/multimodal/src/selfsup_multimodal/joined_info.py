"""What a processor of joined rows says of its batches, part by part."""

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
    """What the part's own processor says."""

    @property
    def spec(self) -> ModalitySpec:
        """Of the part's modality.

        Raises:
            MissingPluginError: its plugin is not installed; the message says how to install it.
        """
        return registry().get("modality", self.modality)


def joined_parts(info: Info) -> dict[str, JoinedPart]:
    """The parts that a processor of joined rows names, by their names, in its order.

    Args:
        info: ``{"parts": {name: {"modality": id, "info": {...}}}}``.

    Raises:
        ConfigError: there are none, or a name cannot be that of a part of a network.
    """
    found = info.get("parts") or {}
    if not found:
        raise ConfigError("The batches have no parts, so that there is nothing to join: take a task of the rows' own modality.")
    taken = nn.ModuleDict()  # of the instance: some names are not the class's
    for name in found:
        if hasattr(taken, name) or "." in name or not name:
            raise ConfigError(f"A part cannot be called {name!r}: give it another name (processor.parts=[NAME:MODALITY,...]).")
    return {name: JoinedPart(name, part["modality"], part["info"]) for name, part in found.items()}


def check_names(given: Iterable[str], parts: Iterable[str], option: str) -> None:
    """Make sure that options are of parts that there are.

    Args:
        given: names that options are given for.
        parts: the names that there are.
        option: how the options are called: ``backbone.towers``.

    Raises:
        ConfigError: a name is of no part.
    """
    known = list(parts)
    for name in given:
        if name not in known:
            raise ConfigError(f"{option}.{name} is of no part of these rows; their parts are {', '.join(known)}.")
