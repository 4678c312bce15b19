"""What the tests of recordings share: a cache of their own, seeded generators and small batches of mock rows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfsup_audio.mock import mock_rows
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def seeded() -> Callable[..., torch.Generator]:
    """A generator with a seed, 0 by default."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def batch() -> Callable[..., dict[str, torch.Tensor]]:
    """Mock recordings as clips of half a second."""

    def made(n: int = 4, sample_rate: int = 8000) -> dict[str, torch.Tensor]:
        return AudioProcessor(AudioProcessorConfig(sample_rate=sample_rate, clip_seconds=0.5))(mock_rows(n, 0))

    return made
