"""What is checked of a plugin before any of its code runs: the hook API it was made for, and its requirements."""

from __future__ import annotations

import ast
import importlib.util
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder

from packaging.requirements import Requirement

from selfsup.errors import PluginError, PluginVersionError
from selfsup.registry.hookspecs import API_VERSION

API_NAME = "SELFSUP_API"


def check_api_version(version: object) -> None:
    """Raise unless a plugin was made for this version of the hooks.

    Raises:
        PluginVersionError: it was made for another one.
        PluginError: it does not say, or says something that is no integer.
    """
    if version is None:
        raise PluginError(f"its module does not say which hook API it was made for: add `{API_NAME} = {API_VERSION}` to it.")
    if not isinstance(version, int):
        raise PluginError(f"its module says {API_NAME} = {version!r}, which is not an integer such as {API_VERSION}.")
    if version != API_VERSION:
        side = "upgrade the plugin" if version < API_VERSION else "upgrade selfsup"
        raise PluginVersionError(
            f"it was made for version {version} of the hook API, and this selfsup has version {API_VERSION}: {side}."
        )


def check_requirements(distribution: metadata.Distribution) -> None:
    """Raise unless everything that a distribution requires (``Requires-Dist``, extras left out) is installed.

    Raises:
        PluginVersionError: a requirement is absent or of the wrong version.
    """
    name = distribution.metadata["Name"]
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            raise PluginVersionError(f'it requires {wanted}, which is not installed: pip install "{wanted}".') from None
        if not requirement.specifier.contains(version, prereleases=True):
            raise PluginVersionError(
                f"it requires {wanted}, and {requirement.name} {version} is installed: "
                f'pip install "{wanted}", or pip install --upgrade {name}.'
            )


def static_api_version(module: str) -> object:
    """What a module assigns to ``SELFSUP_API``, read from its source without running it; None if that cannot be seen."""
    spec = _find_spec(module)
    loader = spec.loader if spec is not None else None
    get_source = getattr(loader, "get_source", None)
    if get_source is None:
        return None
    try:
        source = get_source(module)
        tree = ast.parse(source or "")
    except (ImportError, OSError, SyntaxError, ValueError):
        return None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        named = any(isinstance(target, ast.Name) and target.id == API_NAME for target in targets)
        if named and isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            return node.value.value
    return None


def _find_spec(module: str) -> ModuleSpec | None:
    """Find a module as ``importlib.util.find_spec`` does, but without importing the packages that it lies in."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    name = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    return spec
