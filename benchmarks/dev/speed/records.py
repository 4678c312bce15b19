"""Keep figures in a file, each with the device, the commit and the date of its measurement.

The page of the site on speed is made from these files (``docs/results/speed/``).
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from selfsup.errors import BenchmarkError
from selfsup.runtime import cpu_count, device_name
from selfsup.runtime.environment import cpu_name, package_versions
from selfsup.runtime.files import atomic_write, utc_now

HERE = Path(__file__).parent
RECORDS = "docs/results/speed"
"""Folder of the records in a checkout. Changes in ``docs/results`` are no changes of what is measured."""


def where_and_when(device: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What a record says of the measurement beside the figure.

    Args:
        device: ``cpu`` or ``cuda``.
        arguments: of ``python -m speed``.
    """
    packages = dict(package_versions())
    return {
        "device": device_name(device),
        "kind": device,
        "cpu": cpu_name(),
        "cores": cpu_count(),
        "torch": torch.__version__,
        "selfsup": packages.get("selfsup", ""),
        "commit": commit(),
        "date": utc_now()[:10],
        "command": shlex.join(["python", "-m", "speed", *arguments]),
    }


def commit(folder: Path = HERE) -> str:
    """The commit that is checked out, and ``with changes`` if files that git knows differ from it.

    Raises:
        BenchmarkError: the folder is in no git checkout.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    changed = _git(Path(top), "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs/results")
    return _git(folder, "rev-parse", "--short=10", "HEAD") + (" with changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"A record needs the commit that is measured, and git says: {done.stderr.strip()}")
    return done.stdout.strip()


def keep(path: Path, modality: str, figures: Sequence[Mapping[str, Any]], measured: Mapping[str, Any]) -> None:
    """Put figures into a file; each takes the place of an older one with its name on the same kind of device.

    Args:
        path: of the file, which need not exist.
        modality: of the figures; a file holds those of one.
        figures: as JSON values; those that could not be measured are left out.
        measured: from :func:`where_and_when`.

    Raises:
        BenchmarkError: the file holds figures of another modality.
    """
    held: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"modality": modality, "figures": []}
    if held["modality"] != modality:
        raise BenchmarkError(f"{path} holds figures of {held['modality']}, not of {modality}. Give another file with --out.")
    fresh = [{**figure, "measured": dict(measured)} for figure in figures if "error" not in figure]
    names = {(figure["name"], measured["kind"]) for figure in fresh}
    kept = [old for old in held["figures"] if (old["name"], old["measured"]["kind"]) not in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps({"modality": modality, "figures": [*kept, *fresh]}, indent=1, ensure_ascii=False) + "\n")
