"""What the tests of images share: a cache of their own, seeded generators and random images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def seeded() -> Callable[..., torch.Generator]:
    """A generator with a seed, 0 by default."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Callable[..., torch.Tensor]:
    """Random uint8 images [n, 3, size, size], the same at each call."""

    def made(n: int = 2, size: int = 32, low: int = 0, high: int = 256) -> torch.Tensor:
        options: dict[str, Any] = {"dtype": torch.uint8, "generator": torch.Generator().manual_seed(5)}
        return torch.randint(low, high, (n, 3, size, size), **options)

    return made
