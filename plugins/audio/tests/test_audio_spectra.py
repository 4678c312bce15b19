from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchaudio import transforms

from selfsup.errors import ConfigError
from selfsup_audio.spectra import MFCC, LogMel, LogMelConfig, MFCCConfig

RATE = 16000


def recordings(n: int = 3, samples: int = 8000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.randn(n, samples, generator=generator) * 0.1
    length = torch.linspace(samples / 2, samples, n).long()
    return waveform * (torch.arange(samples) < length.unsqueeze(1)), length


def spectrogram(rate: int = RATE, **options: Any) -> LogMel:
    return LogMel(LogMelConfig(**{"standardize": "none", **options}), rate)


def test_it_equals_torchaudio() -> None:
    waveform, length = recordings()
    ours = spectrogram(fmax=7800.0)
    theirs = transforms.MelSpectrogram(
        RATE, n_fft=512, win_length=400, hop_length=160, f_min=60, f_max=7800, n_mels=64, center=False, power=2.0
    )
    frames, padding = ours(waveform, length)
    # torchaudio puts the window of 400 samples into the middle of the 512 that it reads; its energies are the same.
    shifted = torch.nn.functional.pad(waveform, (56, 512))
    expected = (theirs(shifted).transpose(1, 2) + 1e-6).log()[:, : frames.shape[1]]
    torch.testing.assert_close(frames, expected.masked_fill(padding.unsqueeze(2), 0.0), atol=1e-3, rtol=1e-4)


def test_mfcc_equal_torchaudio() -> None:
    waveform, length = recordings(samples=4000)
    length = torch.full_like(length, 4000)
    frames, padding = MFCC(MFCCConfig(n_mfcc=13), RATE)(waveform, length)
    logarithm, _ = spectrogram()(waveform, length)
    dct = transforms.MFCC(RATE, n_mfcc=13, melkwargs={"n_mels": 64, "n_fft": 512, "f_min": 60.0}).dct_mat
    torch.testing.assert_close(frames, logarithm @ dct, atol=1e-3, rtol=1e-4)
    assert not padding.any()


def test_deltas_follow_the_coefficients() -> None:
    waveform, length = recordings()
    plain, padding = MFCC(MFCCConfig(), RATE)(waveform, length)
    joined, _ = MFCC(MFCCConfig(deltas=True), RATE)(waveform, length)
    assert joined.shape == (*plain.shape[:2], 39)
    assert torch.equal(joined[..., :13], plain)
    # A regression over two frames on both sides, as in HTK.
    by_hand = sum(k * (plain[:, 10 + k] - plain[:, 10 - k]) for k in (1, 2)) / 10
    torch.testing.assert_close(joined[:, 10, 13:26], by_hand)
    assert joined[padding].count_nonzero() == 0


@pytest.mark.parametrize("samples", [1, 399, 400, 559, 560, 8000])
def test_a_frame_counts_if_it_lies_wholly_in_the_recording(samples: int) -> None:
    ours = spectrogram()
    count = ours.n_frames(samples)
    assert count == 1 or (count - 1) * ours.hop + ours.win <= samples
    assert count * ours.hop + ours.win > samples
    frames, padding = ours(torch.zeros(1, samples), torch.tensor([samples]))
    assert frames.shape == (1, count, 64)
    assert not padding.any()
    assert ours.frame_counts(torch.tensor([samples])).tolist() == [count]


def test_the_end_of_a_recording_is_no_click() -> None:
    waveform = torch.sin(torch.arange(8000) * 0.3).unsqueeze(0) * 0.3
    frames, padding = spectrogram()(torch.nn.functional.pad(waveform, (0, 500)), torch.tensor([8000]))
    assert float(frames[~padding].std(dim=0).max()) < 1


@pytest.mark.parametrize("standardize", ["clip", "fixed", "none"])
def test_padding_is_marked_and_changes_nothing(standardize: str) -> None:
    waveform, length = recordings()
    ours = spectrogram(standardize=standardize)
    frames, padding = ours(waveform, length)
    assert (~padding).sum(dim=1).tolist() == [ours.n_frames(int(n)) for n in length]
    assert not (padding[:, :-1] & ~padding[:, 1:]).any()
    assert frames[padding].count_nonzero() == 0
    longer, more = ours(torch.nn.functional.pad(waveform, (0, 3000)), length)
    torch.testing.assert_close(longer[:, : frames.shape[1]], frames)
    assert more[:, frames.shape[1] :].all()
    assert longer[:, frames.shape[1] :].count_nonzero() == 0
    silent, _ = ours(torch.zeros(2, 4000, dtype=torch.int16), torch.tensor([4000, 1]))
    assert torch.isfinite(silent).all()
    assert standardize != "clip" or float(silent.abs().max()) < 1e-3


def test_standardized_by_the_clip_loudness_is_gone_and_statistics_are_of_the_real_frames() -> None:
    waveform, length = recordings()
    ours = spectrogram(standardize="clip")
    frames, padding = ours(waveform, length)
    for each, padded in zip(frames, padding, strict=True):
        real = each[~padded]
        assert abs(float(real.mean())) < 1e-4
        assert float(real.std(correction=0)) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(ours(waveform * 0.3, length)[0], frames, atol=2e-3, rtol=0)


def test_standardized_by_constants_loudness_stays() -> None:
    waveform, length = recordings()
    plain, padding = spectrogram()(waveform, length)
    fixed = spectrogram(standardize="fixed")(waveform, length)[0]
    torch.testing.assert_close(fixed[~padding], (plain[~padding] + 5.0) / 4.5)
    assert float((spectrogram(standardize="fixed")(waveform * 0.3, length)[0] - fixed).abs().max()) > 0.1


def test_integers_and_floats_give_the_same_in_full_precision() -> None:
    waveform, length = recordings()
    whole = (waveform * 32768).round().to(torch.int16)
    plain, _ = spectrogram()(whole, length)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spectrogram()(whole.float() / 32768, length)[0], plain)


def test_a_tone_is_loudest_in_its_band() -> None:
    ours = spectrogram()
    centres = ours.bands.argmax(dim=0) * RATE / ours.n_fft
    for hertz in (440.0, 2000.0):
        waveform = torch.from_numpy(0.3 * np.sin(2 * np.pi * hertz * np.arange(8000) / RATE)).float().unsqueeze(0)
        frames, _ = ours(waveform, torch.tensor([8000]))
        assert abs(float(centres[int(frames[0, 5].argmax())]) - hertz) < 60


def test_windows_hops_and_bands_are_as_asked_for() -> None:
    ours = spectrogram(window_seconds=0.064, hop_seconds=0.02, n_mels=32)
    assert (ours.win, ours.hop) == (1024, 320)
    assert ours(torch.zeros(1, 3200), torch.tensor([3200]))[0].shape == (1, 7, 32)
    for rate, n_mels in ((8000, 64), (8000, 128), (16000, 128), (4000, 64), (44100, 128)):
        assert (spectrogram(rate, n_mels=n_mels).bands.sum(dim=0) > 0).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fmin": 5000.0, "fmax": 4000.0}, "no bands"),
        ({"fmax": 9000.0}, "no bands"),
        ({"n_mels": 512, "fmax": 200.0}, "too narrow"),
        ({"window_seconds": 0.00009, "hop_seconds": 0.00009}, "shorter than two samples"),
    ],
)
def test_bands_that_do_not_fit_are_a_clear_error(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        spectrogram(**options)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="never be seen"):
        LogMelConfig(hop_seconds=0.05)
    with pytest.raises(ValidationError, match="need at least as many bands"):
        MFCCConfig(n_mfcc=80)
