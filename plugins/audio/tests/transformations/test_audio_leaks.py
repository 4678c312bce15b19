"""On noise nothing predicts the order of the segments of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.data import Processor
from selfsup.registry import registry
from selfsup.tasks import PretextTask, Transformation, Transformed
from selfsup.testing import LeakCase, leak_cases
from selfsup.testing.kit.leak_checks import check_linear_leak, check_trained_leak
from selfsup_audio.mock import NOISE_ROWS
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig
from selfsup_audio.transformations.segment_order import SegmentOrder, SegmentOrderConfig, build_segment_order

SPEC = registry().get("task", "audio/segment-order")
OPTIONS: list[dict[str, Any]] = [
    {"transformation.segments": 4},
    {"transformation.gap": 0.0, "transformation.fade_seconds": 0.0},
    {"transformation.apart": False},
]


def test_every_noise_is_a_case() -> None:
    assert {case.noise for case in leak_cases("audio")} == set(NOISE_ROWS)


@pytest.mark.parametrize(("options", "noise"), list(zip(OPTIONS, NOISE_ROWS, strict=True)), ids=str)
def test_a_linear_probe_stays_at_chance(options: dict[str, Any], noise: str) -> None:
    check_linear_leak(LeakCase(SPEC, options, noise=noise))


@pytest.mark.slow
def test_the_trained_task_stays_at_chance_on_the_joined_segments() -> None:
    check_trained_leak(LeakCase(SPEC, OPTIONS[2], noise="0.05 to 0.6 s"))


@dataclass(frozen=True)
class ShortClips(LeakCase):
    """Clips that are shorter than most of the recordings."""

    def processor(self) -> Processor:
        """Of clips of 0.2 s."""
        return AudioProcessor(AudioProcessorConfig(sample_rate=8000, clip_seconds=0.2))

    def batch(self, part: int = 0) -> dict[str, Tensor]:
        """Processed noise."""
        return self.processor()(NOISE_ROWS[self.noise](self.rows, part))


def test_a_linear_probe_stays_at_chance_on_clips_of_longer_recordings() -> None:
    check_linear_leak(ShortClips(SPEC, {}, noise="0.05 to 0.6 s"))


class PlacesOfTheClip(Transformation):
    """Cuts the places from the clip, its padding with it."""

    kind = "class"

    def __init__(self, honest: SegmentOrder) -> None:
        super().__init__()
        self.honest, self.n_outputs, self.parts = honest, honest.n_outputs, honest.parts

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator | None) -> Transformed:
        """Transform."""
        return self.honest({**batch, "length": torch.full_like(batch["length"], batch["waveform"].shape[1])}, generator)


@dataclass(frozen=True)
class Planted(LeakCase):
    """The task with that fault."""

    def build(self, seed: int = 0) -> PretextTask:
        """Build."""
        task: Any = super().build(seed)
        task.transformation = PlacesOfTheClip(task.transformation)
        return task  # type: ignore[no-any-return]


def test_padding_among_the_segments_is_seen() -> None:
    with pytest.raises(AssertionError, match="the batch gives the answer away"):
        check_linear_leak(Planted(SPEC, {"transformation.apart": False}, noise="0.1 s"))


def test_recordings_too_short_for_the_segments_are_silent_whatever_the_order() -> None:
    info = {"sample_rate": 8000, "n_samples": 4000}
    for samples, apart in product((1, 2, 3, 20, 200), (True, False)):
        waveform = torch.zeros(64, 4000)
        waveform[:, :samples] = 1.0
        batch = {"waveform": waveform, "length": torch.full((64,), samples)}
        made = build_segment_order(SegmentOrderConfig(apart=apart), info)(batch, torch.Generator().manual_seed(0))
        assert made.batch["waveform"].count_nonzero() == 0
        assert (made.batch["length"] == made.batch["length"][0]).all()
