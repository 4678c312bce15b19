"""Choose the precision of a run, and compute losses in at least float32."""

from __future__ import annotations

import functools
import time
from typing import Literal

import torch
from torch import Tensor

from selfsup.errors import ConfigError

Precision = Literal["32", "bf16", "16"]
"""Arithmetic of forward passes: float32, bfloat16, or float16."""

FABRIC_NAMES: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}
"""Lightning Fabric's names; weights stay in float32 in all of them."""

AUTOCAST: dict[Precision, torch.dtype | None] = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}
"""The type that a forward pass is cast to; None: none."""

_SIZE = 512
_REPEATS = 5
_WORTH_IT = 1.5
"""bf16 must be faster than float32 by this factor, since the casts of autocast also take time."""


def resolve_precision(precision: Literal["auto", "32", "bf16", "16"], device_type: str) -> Precision:
    """Turn ``auto`` into a precision, and refuse a precision that the device lacks.

    Raises:
        ConfigError: fp16 without a GPU.
    """
    if precision == "16" and device_type != "cuda":
        raise ConfigError(f"precision 16 needs a CUDA GPU, and this run is on {device_type!r}; use bf16, 32 or auto.")
    if precision != "auto":
        return precision
    if device_type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if device_type == "cpu":
        return "bf16" if cpu_bf16_speedup() >= _WORTH_IT else "32"
    return "32"


@functools.cache
def cpu_bf16_speedup() -> float:
    """How many times faster this CPU multiplies bf16 matrices than float32 ones, measured once per process (milliseconds).

    Uses the fastest of a few tries, so that a busy machine does not matter. Global random state does not change.
    """
    single = torch.ones(_SIZE, _SIZE)
    return _seconds(single) / _seconds(single.to(torch.bfloat16))


def full(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is where it is float64: for losses and statistics."""
    return x if x.dtype == torch.float64 else x.float()


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which products are computed in the precision of their operands, on the device of ``x``."""
    return torch.autocast(x.device.type, enabled=False)


def _seconds(matrix: torch.Tensor) -> float:
    torch.mm(matrix, matrix)  # the first call sets kernels up
    fastest = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
