"""The circumstances that a cell's key is made of: code, versions of packages, fingerprint of the data, kind of device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Version of each distribution and of all that it requires directly, extras left out, sorted by name.

    What is not installed is not in it.
    """
    found: dict[str, str] = {}
    for name in distributions:
        try:
            requires = distribution(name).requires or []
            found[name] = version(name)
        except PackageNotFoundError:
            continue
        for text in requires:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            try:
                found[requirement.name] = version(requirement.name)
            except PackageNotFoundError:
                continue
    return dict(sorted(found.items()))


def code_digest(packages: Iterable[str]) -> str:
    """Hash of the Python sources of import packages: a version number alone does not tell what runs in an edited checkout.

    Packages that cannot be found count by their name only.
    """
    digest = hashlib.sha256()
    for package in sorted(set(packages)):
        digest.update(package.encode())
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def circumstances(
    *, schema: int, distributions: Iterable[str], packages: Iterable[str], data: str, device: str, threads: int
) -> dict[str, Any]:
    """All that determines a result besides the cell itself, as JSON values.

    Args:
        schema: version of the record.
        distributions: those that provide the cell's task, backbone, evaluators and data.
        packages: their import packages.
        data: fingerprint of the data.
        device: its kind, ``cpu`` or the accelerator's name.
        threads: CPU threads a cell, which change the order of sums.
    """
    result: Mapping[str, Any] = {
        "schema": schema,
        "versions": versions(distributions),
        "code": code_digest(packages),
        "data": data,
        "device": device,
        "threads": threads,
    }
    return dict(result)
