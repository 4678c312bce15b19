"""What to say of a name that is not registered: what is close, what to install, what is missing for it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Protocol

from selfsup.errors import MissingPluginError, UnknownIdError, UsageError
from selfsup.registry.composition import missing_part
from selfsup.registry.kinds import KINDS
from selfsup.registry.plugin_loader import Plugins
from selfsup.registry.records import PluginRecord
from selfsup.registry.specs import ModalitySpec, ObjectiveSpec, Spec

KNOWN_MODALITIES: dict[str, str] = {
    "vision": "selfsup-vision",
    "text": "selfsup-text",
    "audio": "selfsup-audio",
    "video": "selfsup-video",
    "tabular": "selfsup-tabular",
    "multimodal": "selfsup-multimodal",
}
"""Modality to the distribution that brings it."""

KNOWN_PREFIXES: dict[str, str] = {
    "timm": "vision",
    "timm-frames": "video",
    "torchvision": "video",
    "transformers": "text",
    "transformers-audio": "audio",
}
"""First part of a backbone id to the modality whose plugin registers it."""

KNOWN_COMMANDS: dict[str, tuple[str, str]] = {
    "benchmark": ("bench", "selfsup-bench"),
    "report": ("bench", "selfsup-bench"),
    "transfer": ("tabular", "selfsup-tabular"),
}
"""Command to the plugin and the distribution that bring it."""


class Listing(Protocol):
    """What is known of the plugins and of all that they register."""

    plugins: Plugins
    modalities: dict[str, ModalitySpec]
    objectives: dict[str, ObjectiveSpec]

    def all(self, kind: str) -> Mapping[str, Spec]:
        """Specs of a kind by id."""

    def plugin(self, spec: Spec) -> PluginRecord:
        """The plugin that registered a spec."""


def error(registry: Listing, kind: str, id: str) -> UsageError:
    """The error for an id that is not registered."""
    plugin, distribution = _known_plugin(kind, id)
    if plugin and not _provides(registry, plugin):
        return missing_plugin(registry, f"selfsup {id}" if kind == "command" else id, plugin, distribution)
    if kind == "task" and (reason := _not_composable(registry, id)):
        return UnknownIdError(reason)
    ids = list(registry.all(kind))
    hint = _suggestion(id, ids)
    plural = KINDS[kind].plural
    if not ids:
        return UnknownIdError(f"unknown {kind} {id!r}: no installed plugin registers any {plural}.")
    return UnknownIdError(f"unknown {kind} {id!r}.{hint} `selfsup list {plural}` shows all of them.")


def missing_plugin(registry: Listing, what: str, plugin: str, distribution: str) -> MissingPluginError:
    """The error for something whose plugin is not installed, is left out, or cannot be used."""
    record = registry.plugins.record(plugin)
    if record is None or record.status == "missing":
        return MissingPluginError(f"{what} needs the {plugin} plugin: pip install {distribution}")
    return MissingPluginError(f"{what} needs the plugin {record.label()}, which is installed but not in use: {record.error}")


def _known_plugin(kind: str, id: str) -> tuple[str, str]:
    if kind == "command":
        return KNOWN_COMMANDS.get(id, ("", ""))
    first = id.partition("/")[0]
    modality = KNOWN_PREFIXES.get(first, first)
    if modality in KNOWN_MODALITIES and (kind == "modality" or "/" in id):
        return modality, KNOWN_MODALITIES[modality]
    return "", ""


def _provides(registry: Listing, plugin: str) -> bool:
    record = registry.plugins.record(plugin)
    return plugin in registry.modalities or (record is not None and record.status == "loaded")


def _not_composable(registry: Listing, id: str) -> str:
    """Why an installed modality lacks an objective; empty if that is not the case."""
    first, _, second = id.partition("/")
    modality, objective = registry.modalities.get(first), registry.objectives.get(second)
    if modality is None or objective is None:
        return ""
    words = missing_part(modality, objective)
    if not words:
        return ""
    owner = registry.plugin(modality).label()
    return f"there is no task {id!r}: the objective {second!r} needs {words}, and the plugin {owner} registers none."


def _suggestion(id: str, ids: list[str]) -> str:
    """Ids that are close, or that end in what was asked for (``simclr``: ``vision/simclr``)."""
    first, _, second = id.lower().partition("/")
    by_ending: dict[str, list[str]] = {}
    for other in ids:
        by_ending.setdefault(other.partition("/")[2], []).append(other)
    close = by_ending.get(id, [])
    if not close:
        # A part that both share would make all ids of a modality look alike, so that only what follows it is compared.
        siblings = [other for other in ids if second and other.startswith(f"{first}/")]
        pool = {other.partition("/")[2].lower(): other for other in siblings} or {other.lower(): other for other in ids}
        close = [pool[match] for match in difflib.get_close_matches(second if siblings else id.lower(), list(pool), n=3)]
    return f" Did you mean {' or '.join(repr(item) for item in close)}?" if close else ""
