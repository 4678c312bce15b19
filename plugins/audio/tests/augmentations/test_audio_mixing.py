import pytest
import torch

from selfsup_audio.augmentations.equalizer import equalize
from selfsup_audio.augmentations.mixing import add_noise, change_gain, loudness, mix_with_others


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recordings(n: int = 64, samples: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    length = torch.linspace(samples // 2, samples, n).long()
    waveform = torch.randn(n, samples, generator=seeded(9)) * torch.linspace(0.01, 1, n).unsqueeze(1)
    return waveform * (torch.arange(samples) < length.unsqueeze(1)), length


def silent_behind(waveform: torch.Tensor, length: torch.Tensor) -> bool:
    return not waveform[torch.arange(waveform.shape[1]) >= length.unsqueeze(1)].any()


def test_mixing_shares_the_energy_and_keeps_the_loudness_of_the_real_samples() -> None:
    waveform, length = recordings(512)
    mixed = mix_with_others(waveform, length, 0.4, generator=seeded())
    # What is left of each recording: its correlation with the mixture, squared, is 1 - r with r uniform in 0..0.4.
    own = (mixed * waveform).sum(1) / (mixed.norm(dim=1) * waveform.norm(dim=1))
    part = 1 - own.square()
    assert float(part.mean()) == pytest.approx(0.2, abs=0.02)
    assert float(part.max()) < 0.45
    by_hand = [float(row[:n].square().mean().sqrt()) for row, n in zip(waveform, length, strict=True)]
    ratio = loudness(mixed, length).squeeze(1) / torch.tensor(by_hand)
    assert float((ratio - 1).abs().max()) < 0.1
    assert silent_behind(mixed, length)


def test_the_other_recording_is_another_one() -> None:
    waveform = torch.eye(8).repeat_interleave(16, dim=1)
    length = torch.full((8,), 128)
    mixed = mix_with_others(waveform, length, 1.0, generator=seeded()).view(8, 8, 16)[..., 0]
    others = mixed - torch.diag(mixed.diagonal())
    assert (others.count_nonzero(dim=1) == 1).all()


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_noise_has_the_wanted_energy_and_frequency(snr: float) -> None:
    waveform, length = recordings(400)
    noisy = add_noise(waveform, length, (snr, snr), 0.3, generator=seeded())
    ratio = loudness(waveform, length) / loudness(noisy - waveform, length)
    hit = ((noisy - waveform) != 0).any(dim=1)
    assert float(hit.float().mean()) == pytest.approx(0.3, abs=0.07)
    decibels = 20 * ratio[hit].log10()
    assert float((decibels - snr).abs().max()) < 0.7
    assert silent_behind(noisy, length)


def test_gain_is_uniform_in_decibels() -> None:
    waveform, _ = recordings(2000, 64)
    louder = change_gain(waveform, 6.0, generator=seeded())
    decibels = 20 * (louder[:, 0] / waveform[:, 0]).log10()
    assert float(decibels.abs().max()) <= 6.001
    assert float(decibels.std()) == pytest.approx(12 / 12**0.5, abs=0.2)


def test_the_equaliser_changes_bands_by_what_it_says_and_no_phase() -> None:
    impulse = torch.zeros(200, 512)
    impulse[:, 256] = 1
    length = torch.full((200,), 512)
    filtered = equalize(impulse, length, 6.0, generator=seeded())
    response = torch.fft.rfft(filtered)
    decibels = 20 * response.abs().log10()
    assert 5 < float(decibels.abs().max()) <= 6.2
    assert float(decibels.std(dim=0).min()) > 1
    steps = (decibels[:, 1:] - decibels[:, :-1]).abs()
    assert float(steps.max()) < 2
    # Symmetric around the impulse: no phase changes.
    torch.testing.assert_close(filtered[:, 257:400], filtered[:, 113:256].flip(1), atol=1e-5, rtol=0)
    waveform, length = recordings(8, 1000)
    assert silent_behind(equalize(waveform, length, 6.0, generator=seeded()), length)
