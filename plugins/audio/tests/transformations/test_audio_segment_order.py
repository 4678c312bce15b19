import math
from itertools import permutations
from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.testing.kit.task_checks import generator
from selfsup_audio.transformations.segment_order import SegmentOrder, SegmentOrderConfig, build_segment_order

RATE, SAMPLES = 1000, 1200


def transformation(**options: Any) -> SegmentOrder:
    return build_segment_order(SegmentOrderConfig(**options), {"sample_rate": RATE, "n_samples": SAMPLES})


def ramps(lengths: list[int]) -> dict[str, torch.Tensor]:
    """Recordings whose samples say where they lie: (t + 1) / 4096."""
    length = torch.tensor(lengths)
    time = torch.arange(SAMPLES)
    return {"waveform": ((time + 1) / 4096) * (time < length.unsqueeze(1)), "length": length}


def places(waveform: torch.Tensor) -> torch.Tensor:
    """Where the samples were in the recording."""
    return (waveform * 4096).round().long() - 1


def test_all_orders_are_alike_likely_and_differ_between_samples() -> None:
    batch = {"waveform": torch.zeros(6000, SAMPLES, dtype=torch.int16), "length": torch.full((6000,), SAMPLES)}
    label = transformation()(batch, generator()).label
    share = torch.bincount(label, minlength=6) / 6000
    assert len(share) == 6
    assert (share - 1 / 6).abs().max() < 5 * math.sqrt(5 / 36 / 6000)


@pytest.mark.parametrize("segments", [2, 3, 4])
def test_the_label_says_which_segment_has_come_where(segments: int) -> None:
    task = transformation(segments=segments, fade_seconds=0.0)
    assert task.n_outputs == math.factorial(segments)
    assert task.parts == segments
    lengths = [SAMPLES, 900, 601, 240] * 20
    out = task(ramps(lengths), generator())
    waveform = out.batch["waveform"].view(80, segments, -1)
    width = out.batch["length"].view(80, segments)
    orders = list(permutations(range(segments)))
    for sample, length in enumerate(lengths):
        cell = length // segments
        for place, segment in enumerate(orders[out.label[sample]]):
            n = int(width[sample, place])
            assert n == cell - cell * 150 // 1000
            found = places(waveform[sample, place, :n])
            assert torch.equal(found, torch.arange(found[0], found[0] + n)), "a piece is not in one piece"
            assert segment * cell <= found[0]
            assert found[-1] < (segment + 1) * cell
            assert (waveform[sample, place, n:] == 0).all()


def test_pieces_are_taken_anywhere_in_their_place() -> None:
    out = transformation(segments=2, fade_seconds=0.0)(ramps([SAMPLES] * 2000), generator())
    first = places(out.batch["waveform"][:, :1]).flatten() % 600
    assert first.min() == 0
    assert first.max() == 90
    assert first.float().mean().item() == pytest.approx(45, abs=1.5)


def test_whole_recordings_are_joined_without_a_pause() -> None:
    task = transformation(apart=False, fade_seconds=0.0, gap=0.0)
    assert task.parts == 1
    out = task(ramps([SAMPLES, 600, 301]), generator(1))
    orders = list(permutations(range(3)))
    for sample, length in enumerate([SAMPLES, 600, 300]):
        cell = length // 3
        wanted = torch.cat([torch.arange(s * cell, (s + 1) * cell) for s in orders[out.label[sample]]])
        assert out.batch["length"][sample] == length
        assert torch.equal(places(out.batch["waveform"][sample, :length]), wanted)
        assert (out.batch["waveform"][sample, length:] == 0).all()


def test_pieces_swell_and_die_away() -> None:
    batch = {"waveform": torch.full((4, SAMPLES), 0.5), "length": torch.full((4,), SAMPLES)}
    out = transformation(fade_seconds=0.01)(batch, generator()).batch["waveform"]
    ramp = torch.arange(1, 11) / 11 * 0.5
    torch.testing.assert_close(out[:, :10], ramp.expand(12, 10))
    torch.testing.assert_close(out[:, -10:], ramp.flip(0).expand(12, 10))
    assert (out[:, 10:-10] == 0.5).all()


def test_integers_are_taken_and_what_is_given_stays() -> None:
    batch = {"waveform": torch.full((2, SAMPLES), 16384, dtype=torch.int16), "length": torch.tensor([SAMPLES, 3])}
    out = transformation()(batch, generator())
    assert out.batch["waveform"].dtype == torch.float32
    assert out.batch["waveform"].max() == 0.5
    assert (out.batch["length"] >= 1).all()
    assert (batch["waveform"] == 16384).all()


def test_clips_too_short_for_so_many_segments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"transformation\.segments=5 is too many for clips of 0\.05 s"):
        build_segment_order(SegmentOrderConfig(segments=5), {"sample_rate": 1000, "n_samples": 50})
