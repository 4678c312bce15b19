"""Describe the environment of a result: packages, device, memory."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch

from selfsup.runtime.machine_load import cpu_count

_PACKAGES = (
    "torch",
    "numpy",
    "datasets",
    "lightning-fabric",
    "safetensors",
    "scikit-learn",
    "timm",
    "torchvision",
    "transformers",
)


def environment(device: torch.device | str | None = None) -> dict[str, Any]:
    """Versions and hardware for a run or a result record, as plain JSON values.

    Args:
        device: of the run; None: the GPU if there is one, else the CPU.
    """
    chosen = torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(package_versions()),
        "device": device_name(chosen),
        "cpu": cpu_name(),
        "cpu_cores": cpu_count(),
        "threads": torch.get_num_threads(),
    }


@cache
def package_versions() -> tuple[tuple[str, str], ...]:
    """Name and version of selfsup, its plugins and the packages that affect results, as far as installed."""
    names = {"selfsup", *_PACKAGES}
    names |= {point.dist.name for point in importlib.metadata.entry_points(group="selfsup") if point.dist is not None}
    versions = []
    for name in sorted(names):
        try:
            versions.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(versions)


def device_name(device: torch.device | str) -> str:
    """``cpu (model)`` or ``cuda (model)``."""
    chosen = torch.device(device)
    model = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else cpu_name() if chosen.type == "cpu" else ""
    return f"{chosen.type} ({model})" if model else chosen.type


@cache
def cpu_name() -> str:
    """The model of the CPU, or its architecture if the model is unknown."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device | str = "cpu") -> int:
    """Peak memory in bytes: resident memory of this process, or on a GPU of its tensors."""
    chosen = torch.device(device)
    if chosen.type == "cuda":
        return int(torch.cuda.max_memory_allocated(chosen))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)  # kibibytes except on macOS
