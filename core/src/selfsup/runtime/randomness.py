"""Save and restore random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_RANK_STRIDE = 1_000_003
"""Distance of the seeds of two devices, far larger than that of seeds that people choose."""

_STEP_STRIDE = 15_485_863
"""Distance of the seeds for resuming at two steps, no small multiple of the distance between devices."""


def seed_of_rank(seed: int, rank: int) -> int:
    """The seed of one device's views; the first device has the run's own."""
    return seed + rank * _RANK_STRIDE


def get_state(generator: torch.Generator) -> dict[str, Any]:
    """State of the run's generator, and of torch's global generators, which dropout uses."""
    device = generator.device
    return {
        "generator": generator.get_state(),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
    }


def set_state(state: dict[str, Any], generator: torch.Generator) -> None:
    """Restore a state from :func:`get_state`."""
    generator.set_state(state["generator"])
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and generator.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], generator.device)
    if state.get("mps") is not None and generator.device.type == "mps":
        torch.mps.set_rng_state(state["mps"])


def is_of(state: dict[str, Any], generator: torch.Generator) -> bool:
    """Whether a state is from a generator on this kind of device, so that :func:`set_state` can restore it."""
    kinds = {kind for kind in ("cuda", "mps") if state.get(kind) is not None}
    return kinds == {generator.device.type} - {"cpu"}


def start_anew(generator: torch.Generator, step: int) -> None:
    """Seed with a function of the first seed and the step, if there is no state to restore."""
    seed = generator.initial_seed() + step * _STEP_STRIDE
    generator.manual_seed(seed)
    torch.manual_seed(seed)


@contextmanager
def preserved() -> Iterator[None]:
    """Restore torch's global random state after the block, so that it does not affect other code."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]  # torch's own
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
