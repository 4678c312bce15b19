import math

import numpy as np
import pytest
import torch

from selfsup_audio.augmentations.windows import Windows, locations, random_windows, read_windows

ONE = 1 << 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(start: int, extent: int, rate: float) -> Windows:
    return Windows(torch.tensor([[start]]), torch.tensor([[extent]]), torch.tensor([[round(rate * ONE)]]))


def test_statistics_of_the_draws() -> None:
    length = torch.full((20_000,), 1000)
    drawn = random_windows(length, (0.5, 0.9), (0.5, 2.0), generator=seeded())
    share = drawn.extent.float() / 1000
    octaves = (drawn.rate.float() / ONE).log2()
    assert float(share.mean()) == pytest.approx(0.7, abs=0.01)
    assert 0.5 <= float(share.min()) < 0.51 < 0.89 < float(share.max()) <= 0.9
    assert float(octaves.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(octaves.std()) == pytest.approx(2 / math.sqrt(12), abs=0.02)
    place = drawn.start / (1000 - drawn.extent)
    assert float(place.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(place.min()) == 0
    assert float(place.max()) == 1


def test_windows_lie_within_what_is_real() -> None:
    length = torch.randint(1, 50, (5000,), generator=seeded())
    drawn = random_windows(length, (0.01, 1.0), (1.0, 1.0), generator=seeded(1))
    assert (drawn.start >= 0).all()
    assert (drawn.extent >= 1).all()
    assert (drawn.start + drawn.extent <= length.unsqueeze(1)).all()


def test_the_share_is_of_the_longest_where_a_recording_is_longer() -> None:
    length = torch.tensor([1000, 40]).repeat_interleave(5000)
    drawn = random_windows(length, (0.5, 0.9), (1.0, 1.0), longest=100, generator=seeded())
    long, short = drawn.extent.squeeze(1).view(2, 5000)
    assert (int(long.min()), int(long.max())) == (50, 89)
    assert (int(short.min()), int(short.max())) == (20, 35)
    place = drawn.start.squeeze(1)[:5000] / (1000 - long)
    assert (float(place.min()), float(place.max())) == pytest.approx((0, 1), abs=0.01)


def test_a_window_at_its_own_speed_is_a_slice() -> None:
    waveform = torch.randn(1, 100)
    for resampled in (False, True):
        read, count = read_windows(waveform, windows(10, 30, 1.0), 40, resampled=resampled)
        assert count.tolist() == [30]
        assert torch.equal(read[0, :30], waveform[0, 10:40])
        assert read[0, 30:].count_nonzero() == 0


@pytest.mark.parametrize("rate", [0.5, 0.8, 1.25, 2.0])
def test_speed_changes_pitch_and_duration(rate: float) -> None:
    waveform = torch.sin(torch.arange(8000) * 0.1).unsqueeze(0)
    read, count = read_windows(waveform, windows(0, 4000, rate), 8000, resampled=True)
    assert count.item() == pytest.approx(4000 / rate, abs=1)
    inner = int(count) - 2  # behind the last sample there is none to read towards
    expected = torch.sin(torch.arange(inner) * 0.1 * rate)
    np.testing.assert_allclose(read[0, :inner].numpy(), expected.numpy(), atol=0.005)


def test_places_stay_exact_in_long_recordings() -> None:
    n = 3_000_000
    ramp = torch.arange(n, dtype=torch.float64).unsqueeze(0)
    read, _ = read_windows(ramp, windows(0, n, 1.1), n, resampled=True)
    assert float((read[0, :2_000_000] - 1.1 * torch.arange(2_000_000)).abs().max()) < 0.2


def test_a_window_that_is_too_long_is_cut() -> None:
    waveform = torch.randn(1, 100)
    read, count = read_windows(waveform, windows(0, 100, 0.5), 120, resampled=True)
    assert read.shape == (1, 120)
    assert count.tolist() == [120]


def test_locations_say_where_the_window_lies() -> None:
    assert locations(windows(25, 30, 2.0), 100, 20).tolist() == [[[0.25, 0.4000000059604645]]]
