"""The circumstances that a cell's key is made of: code, versions of packages, fingerprint of the data, kind of device."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from selfsup.errors import SelfsupError
from selfsup_bench.cells.cell import options_under

if TYPE_CHECKING:
    from selfsup.registry import Registry

FOLDER = Path(__file__).parents[1]
HARNESS = (
    "cells/boosting.py",
    "cells/from_scratch.py",
    "cells/measure.py",
    "cells/raw_features.py",
    "cells/run_cell.py",
    "datasets",
)
"""Modules of this package, and folders of such, that determine what a cell gives."""


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
    """Hash of the Python sources of import packages: a version number does not identify the code of an edited checkout.

    A package may be a single module. Those that cannot be found count by their name only.
    """
    digest = hashlib.sha256()
    for package in sorted(set(packages)):
        digest.update(package.encode())
        spec = find_spec(package)
        if spec is None:
            continue
        if spec.submodule_search_locations is None:
            if spec.has_location and spec.origin is not None:
                digest.update(Path(spec.origin).read_bytes())
            continue
        for folder in spec.submodule_search_locations:
            digest.update(_sources(Path(folder), Path(folder).rglob("*.py")))
    return digest.hexdigest()[:16]


def harness_digest(folder: Path | None = None) -> str:
    """Hash of the modules of this package that measure or make data (:data:`HARNESS`).

    An edit of the leaderboard or of the page does not change it, so that ``--resume`` runs no cell again for that.

    Args:
        folder: where the package is; None: :data:`FOLDER`.
    """
    digest = hashlib.sha256()
    folder = folder or FOLDER
    for name in HARNESS:
        path = folder / name
        digest.update(_sources(folder, path.rglob("*.py") if path.is_dir() else [path]))
    return digest.hexdigest()[:16]


def _sources(folder: Path, paths: Iterable[Path]) -> bytes:
    """Names and contents of files of a folder."""
    return b"".join(path.relative_to(folder).as_posix().encode() + path.read_bytes() for path in sorted(paths))


def commit_of(path: Path) -> str:
    """The commit of the git checkout that a file belongs to, as ``git describe --always --dirty`` writes it.

    Empty if git does not track the file, as in an installed package, or if there is no git.
    """
    for command in (["ls-files", "--error-unmatch", path.name], ["describe", "--always", "--dirty", "--exclude", "*"]):
        try:
            done = subprocess.run(["git", "-C", str(path.parent), *command], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
    return done.stdout.strip()


def circumstances(
    *, schema: int, distributions: Iterable[str], packages: Iterable[str], data: str, device: str, threads: int
) -> dict[str, Any]:
    """Everything except the cell that determines a result, as JSON values.

    Args:
        schema: version of the record.
        distributions: those that provide the cell's modality, task, objective, backbone and evaluators; that of this package
            is added.
        packages: their import packages.
        data: fingerprint of the data.
        device: its kind, ``cpu`` or the accelerator's name.
        threads: CPU threads a cell, which change the order of sums.
    """
    result: Mapping[str, Any] = {
        "schema": schema,
        "versions": versions({"selfsup-bench", *distributions}),
        "code": code_digest(packages),
        "harness": harness_digest(),
        "data": data,
        "device": device,
        "threads": threads,
    }
    return dict(result)


class DataFingerprints:
    """Fingerprints of data sets, each looked up once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.known: dict[tuple[str, str, str], tuple[str, str]] = {}

    def of(self, modality: str, dataset: str, overrides: Mapping[str, Any]) -> tuple[str, str]:
        """Hash of both splits, and why there are none (empty if there are).

        Of rows that join parts the overrides say which: those of the processor count there.
        """
        joins = self.registry.get("modality", modality).joins
        own = {key: value for key, value in overrides.items() if key.startswith("processor.")} if joins else {}
        place = (modality, dataset, json.dumps(own, sort_keys=True, default=str))
        if place not in self.known:
            from selfsup.data import load_source

            options = options_under("processor.", own)
            spec = self.registry.get("modality", modality)
            try:
                parts = [
                    load_source(dataset, modality=spec, split=split, options=options).fingerprint for split in ("train", "test")
                ]
                self.known[place] = ("-".join(part[:24] for part in parts), "")
            except SelfsupError as error:
                self.known[place] = ("unavailable", str(error))
        return self.known[place]
