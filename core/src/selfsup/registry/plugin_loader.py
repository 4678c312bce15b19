"""Finds plugins and loads them so that a broken one takes nothing else down.

pluggy's own loader stops at the first plugin that raises, so this one goes through the entry points by itself. For each it
checks the API version and the requirements before any code of the plugin runs, imports the module, asks every specification
hook, and on failure takes the plugin out again, keeps a :class:`~selfsup.registry.records.PluginRecord` and logs one line of
warning.

Environment:
    SELFSUP_PLUGINS: names of the only plugins to load, separated by commas; empty: none but the core.
    SELFSUP_PLUGINS_STRICT: ``1`` raises where there would be a warning.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from selfsup.errors import DuplicateIdError, PluginError, PluginVersionError
from selfsup.registry import hookspecs
from selfsup.registry.compatibility import API_NAME, check_api_version, check_requirements, static_api_version
from selfsup.registry.kinds import KINDS
from selfsup.registry.records import PluginRecord, Status
from selfsup.registry.specs import Spec

GROUP = "selfsup"
"""The entry-point group of plugins."""
CORE = "core"
"""Name of the core's own plugin, which is always loaded, and first."""
_CORE_MODULE = "selfsup.registry.builtin"

_CHOOSE = "uninstall one of the two, or choose with SELFSUP_PLUGINS=NAME,NAME."

logger = logging.getLogger("selfsup.registry")


@dataclass(frozen=True)
class Registered:
    """A spec and the plugin that registered it."""

    spec: Spec
    plugin: PluginRecord


@dataclass(frozen=True)
class _Candidate:
    name: str
    module: str
    distribution: metadata.Distribution | None

    def record(self, status: Status, error: str = "", trace: str = "") -> PluginRecord:
        return PluginRecord(
            name=self.name,
            module=self.module,
            distribution=self.distribution.metadata["Name"] if self.distribution else "",
            version=self.distribution.version if self.distribution else "",
            status=status,
            error=error,
            traceback=trace,
        )


class Plugins:
    """All plugins that were found, and what they register."""

    def __init__(self, *, only: frozenset[str] | None = None, strict: bool = False) -> None:
        self.records: list[PluginRecord] = []
        """One a plugin, the core's first, the others by name."""
        self.specs: dict[str, dict[str, Registered]] = {kind: {} for kind in KINDS}
        """By kind, then by id."""
        self.contested: dict[tuple[str, str], str] = {}
        """(kind, id) that more than one plugin claims, with the message that names them."""
        self._strict = strict
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for candidate in _candidates():
            if only is not None and candidate.name not in only | {CORE}:
                self.records.append(candidate.record("disabled", "left out by SELFSUP_PLUGINS."))
            else:
                self._load(candidate)
        known = [record.name for record in self.records]
        for name in sorted((only or frozenset()) - set(known)):
            self._refuse(_Candidate(name, "", None), "missing", PluginError(_missing_message(name, known)))

    @property
    def hook(self) -> pluggy.HookRelay:
        """Calls a hook of all loaded plugins: ``plugins.hook.selfsup_run_ended(run_dir=..., status=...)``."""
        return self._manager.hook

    def record(self, name: str) -> PluginRecord | None:
        """The record of the plugin of that name."""
        return next((record for record in self.records if record.name == name), None)

    def _load(self, candidate: _Candidate) -> None:
        module: ModuleType | None = None
        try:
            self._check_name(candidate)
            if candidate.distribution is not None and candidate.name != CORE:
                stated = static_api_version(candidate.module)
                if stated is not None:
                    check_api_version(stated)
                check_requirements(candidate.distribution)
            module = importlib.import_module(candidate.module)
            check_api_version(getattr(module, API_NAME, None))
            self._manager.register(module, candidate.name)
            self._manager.check_pending()
            found = self._ask(module)
            self._check_ids(candidate, found)
        except (Exception, SystemExit) as error:
            if module is not None and self._manager.is_registered(module):
                self._manager.unregister(module)
            if candidate.name == CORE and candidate.module == _CORE_MODULE:
                raise
            self._refuse(candidate, _status(error), error)
            return
        record = candidate.record("loaded")
        self.records.append(record)
        for kind, items in found.items():
            self.specs[kind].update({spec.id: Registered(spec, record) for spec in items})

    def _check_name(self, candidate: _Candidate) -> None:
        other = self.record(candidate.name)
        if other is not None:
            owner = f"{other.distribution} {other.version}"
            raise DuplicateIdError(f"the name {candidate.name!r} is taken by the plugin of {owner}: uninstall one of the two.")

    def _ask(self, module: ModuleType) -> dict[str, list[Spec]]:
        """Call the specification hooks of one plugin and check what they return."""
        found: dict[str, list[Spec]] = {}
        for kind in KINDS.values():
            caller = getattr(self._manager.hook, kind.hook)
            for implementation in caller.get_hookimpls():
                if implementation.plugin is not module:
                    continue
                result: Any = implementation.function()
                wanted = f"a list of {kind.spec.__name__}"
                if not isinstance(result, list | tuple):
                    raise PluginError(f"its hook {kind.hook} returned {result!r}, which is not {wanted}.")
                for spec in result:
                    if not isinstance(spec, kind.spec):
                        raise PluginError(f"its hook {kind.hook} must return {wanted}; it returned one that holds {spec!r}.")
                found.setdefault(kind.name, []).extend(result)
        return found

    def _check_ids(self, candidate: _Candidate, found: dict[str, list[Spec]]) -> None:
        """Refuse a plugin that claims an id twice, or one that is taken: we do not guess which of two plugins was meant."""
        claims: list[str] = []
        for kind, items in found.items():
            for spec in items:
                if sum(other.id == spec.id for other in items) > 1:
                    raise DuplicateIdError(f"it registers the {kind} {spec.id!r} twice.")
                taken = self.specs[kind].get(spec.id)
                if taken is not None:
                    both = f"both {taken.plugin.label()} and {candidate.record('duplicate').label()}"
                    self.contested[kind, spec.id] = f"the {kind} {spec.id!r} is claimed by {both}; {_CHOOSE}"
                    claims.append(self.contested[kind, spec.id])
        if claims:
            more = f" ({len(claims)} ids are claimed twice.)" if len(claims) > 1 else ""
            raise DuplicateIdError(claims[0] + more)

    def _refuse(self, candidate: _Candidate, status: Status, error: BaseException) -> None:
        ours = isinstance(error, PluginError)
        message = str(error) if ours else _describe(error)
        trace = "" if ours else "".join(traceback.format_exception(error))
        record = candidate.record(status, message, trace)
        self.records.append(record)
        warning = f"plugin {record.label()} is not used: {message}"
        if self._strict:
            kind = type(error) if isinstance(error, PluginError) else PluginError
            raise kind(warning) from error
        logger.warning("Warning: %s", warning)


def _candidates() -> Iterator[_Candidate]:
    yield _Candidate(CORE, _CORE_MODULE, _own_distribution())
    entries: Iterable[metadata.EntryPoint] = metadata.entry_points(group=GROUP)
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
        if entry.value != _CORE_MODULE:
            yield _Candidate(entry.name, entry.value, entry.dist)


def _own_distribution() -> metadata.Distribution | None:
    try:
        return metadata.distribution("selfsup")
    except metadata.PackageNotFoundError:
        return None


def _status(error: BaseException) -> Status:
    if isinstance(error, PluginVersionError):
        return "incompatible"
    return "duplicate" if isinstance(error, DuplicateIdError) else "broken"


def _describe(error: BaseException) -> str:
    """An exception of the plugin's own code in one line, with the place that raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{place}; `selfsup plugins doctor` shows all of it."


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen") or filename in (__file__, importlib.__file__)


def _missing_message(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"installed are {', '.join(known)}."
    return f"SELFSUP_PLUGINS names it, but no plugin of that name is installed; {hint}"


_cached: Plugins | None = None


def get_plugin_manager() -> Plugins:
    """All plugins, found and loaded at the first call.

    Raises:
        PluginError: ``SELFSUP_PLUGINS_STRICT=1`` and a plugin cannot be used.
    """
    global _cached
    if _cached is None:
        names = os.environ.get("SELFSUP_PLUGINS")
        only = None if names is None else frozenset(name.strip() for name in names.split(",") if name.strip())
        _cached = Plugins(only=only, strict=os.environ.get("SELFSUP_PLUGINS_STRICT", "") not in ("", "0"))
    return _cached


def reset() -> None:
    """Forget all plugins, so that the next use looks for them anew."""
    global _cached
    _cached = None
