"""Distributions with real metadata, made on the fly."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from selfsup.registry import Plugins

PLUGIN = """
from selfsup.registry import hookimpl
from selfsup.registry.specs import *

SELFSUP_API = 1
"""

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution on ``sys.path`` as an installer would; returns the module of its entry point."""
    packages: list[str] = []

    def install(
        name: str,
        source: str = "",
        *,
        header: str = PLUGIN,
        distribution: str = "",
        version: str = "1.0",
        requires: tuple[str, ...] = (),
    ) -> str:
        distribution = distribution or f"example-{name}"
        site, package = tmp_path / distribution, distribution.replace("-", "_")
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").touch()
        (site / package / "plugin.py").write_text(header + source)
        info = site / f"{package}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n")
        (info / "entry_points.txt").write_text(f"[selfsup]\n{name} = {package}.plugin\n")
        monkeypatch.syspath_prepend(site)
        packages.append(package)
        return f"{package}.plugin"

    yield install
    for module in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[module]


@pytest.fixture
def only() -> Callable[..., Plugins]:
    """Load the core and the named plugins, whatever else is installed."""

    def load(*names: str, strict: bool = False) -> Plugins:
        return Plugins(only=frozenset(names), strict=strict)

    return load
