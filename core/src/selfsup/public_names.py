"""Public names that are imported on first use, and names that have moved."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Moved:
    """A public name that has moved; the old one works, with a warning, until a stated version and day."""

    to: str
    """Its new place: ``package.module:name``."""
    since: str
    """Version that moved it."""
    until: str
    """Version that drops the old name."""
    not_before: str
    """Day before which that version is not released, as YYYY-MM-DD."""

    def load(self, old: str) -> Any:
        """The object, after a warning that names its new place."""
        module, _, name = self.to.partition(":")
        warnings.warn(
            f"{old} is called {module}.{name} since selfsup {self.since}. The old name goes away in selfsup {self.until}, not "
            f"before {self.not_before}.",
            DeprecationWarning,
            stacklevel=3,
        )
        return getattr(importlib.import_module(module), name)


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]] | None = None, moved: Mapping[str, Moved] | None = None
) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package whose public names are imported on first use.

    ::

        __getattr__ = lazy_names(__name__, {"selfsup.runtime.files": ["atomic_write"]})

    Args:
        package: its name.
        homes: module to the names that it defines.
        moved: old name to the new place; using it warns.
    """
    home_of = {name: module for module, names in (homes or {}).items() for name in names}

    def find(name: str) -> Any:
        if name in home_of:
            return getattr(importlib.import_module(home_of[name]), name)
        if moved and name in moved:
            return moved[name].load(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
