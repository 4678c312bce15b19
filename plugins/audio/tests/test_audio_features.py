import numpy as np
import torch

from selfsup_audio.features import mel_statistics, mfcc_statistics, statistics

INFO = {"sample_rate": 8000, "n_samples": 4000}


def test_statistics_are_those_of_numpy_over_the_real_frames() -> None:
    frames = torch.randn(3, 7, 5)
    count = [7, 4, 1]
    padding = torch.arange(7) >= torch.tensor(count).unsqueeze(1)
    found = statistics(frames, padding)
    for row, each, n in zip(found, frames.numpy(), count, strict=True):
        real = each[:n]
        expected = np.concatenate([real.mean(0), real.std(0), real.min(0), real.max(0)])
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-5)


def test_shapes_and_finite_numbers_for_silence(batch) -> None:
    recordings = batch()
    silence = {"waveform": torch.zeros_like(recordings["waveform"]), "length": torch.tensor([4000, 100, 1, 4000])}
    for features, width in ((mel_statistics, 256), (mfcc_statistics, 160)):
        for each in (recordings, silence):
            found = features(each, INFO)
            assert found.shape == (4, width)
            assert torch.isfinite(found).all()


def test_mel_statistics_know_loudness(batch) -> None:
    recordings = batch()
    softer = {**recordings, "waveform": recordings["waveform"] // 4}
    assert float((mel_statistics(softer, INFO) - mel_statistics(recordings, INFO))[:, :64].mean()) < -1.5


def test_mfcc_statistics_know_how_fast_the_spectrum_moves() -> None:
    steady = torch.sin(torch.arange(4000) * 0.3).unsqueeze(0) * 0.3
    wobbling = steady * (1 + 0.9 * torch.sin(torch.arange(4000) * 0.02))
    length = torch.tensor([4000])
    a, b = (mfcc_statistics({"waveform": x, "length": length}, INFO)[0, 100:120] for x in (steady, wobbling))
    assert float(b[0]) > 3 * float(a[0])
