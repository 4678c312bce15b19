"""Writes a new plugin distribution: a small modality that installs, trains and passes the conformance checks."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path
from string import Template

from selfsup.errors import UsageError
from selfsup.registry import API_VERSION

_LAYOUT = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "src/{package}/plugin.py": "plugin.py.txt",
    "src/{package}/processor.py": "processor.py.txt",
    "src/{package}/views.py": "views.py.txt",
    "src/{package}/backbone.py": "backbone.py.txt",
    "src/{package}/mock.py": "mock.py.txt",
    "tests/test_{package}.py": "test_plugin.py.txt",
}
"""File of the new distribution to its template."""


def new_plugin(name: str, folder: Path) -> list[Path]:
    """Write a plugin distribution.

    Args:
        name: of the plugin and of its modality; the distribution becomes ``selfsup-<name>``.
        folder: where to; it must be empty or not exist.

    Returns:
        The files written.

    Raises:
        UsageError: the name is not allowed, or the folder holds something.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"{name!r} is no plugin name: use lower-case letters, digits and single '-', beginning with a letter.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is no empty folder: choose another with --out.")
    package = f"selfsup_{name.replace('-', '_')}"
    release = [*metadata.version("selfsup").split("."), "0"]
    values = {
        "name": name,
        "package": package,
        "distribution": f"selfsup-{name}",
        "requirement": f"selfsup>={release[0]}.{release[1]},<{int(release[0]) + 1}",
        "api": str(API_VERSION),
    }
    templates = resources.files("selfsup") / "templates" / "plugin"
    written = []
    for target, source in _LAYOUT.items():
        path = folder / target.format(package=package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((templates / source).read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
        written.append(path)
    init = folder / "src" / package / "__init__.py"
    init.touch()
    return sorted([*written, init])
