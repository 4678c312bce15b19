"""What became of each plugin that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["loaded", "disabled", "incompatible", "broken", "duplicate", "missing"]
"""What became of a plugin.

``loaded``: in use. ``disabled``: left out by ``SELFSUP_PLUGINS``. ``incompatible``: made for another hook API, or what it
requires is not installed. ``broken``: its module or one of its hooks raises or is malformed. ``duplicate``: it claims a name or
an id that is taken. ``missing``: ``SELFSUP_PLUGINS`` names it and it is not installed.
"""


@dataclass(frozen=True, kw_only=True)
class PluginRecord:
    """The health record of one plugin."""

    name: str
    """Name of its entry point."""
    module: str
    """Module that the entry point names; empty if it is missing."""
    distribution: str
    """Distribution that holds it; empty if it is missing."""
    version: str
    """Version of the distribution; empty if it is missing."""
    status: Status
    error: str = ""
    """Why it is not in use: what is wrong and what to do."""
    traceback: str = ""
    """Of an exception in the plugin's own code."""

    @property
    def healthy(self) -> bool:
        """Whether nothing needs repair."""
        return self.status in ("loaded", "disabled")

    def label(self) -> str:
        """Name, distribution and version, as messages call a plugin."""
        owner = f"{self.distribution} {self.version}".strip()
        return f"{self.name!r} ({owner})" if owner else repr(self.name)
