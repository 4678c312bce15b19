"""Padding behind the end of a recording changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from selfsup.registry import registry
from selfsup.testing import BackboneCase, parametrize_backbones
from selfsup.testing.kit.backbone_checks import check_padding
from selfsup_audio.augmentations.equalizer import equalize
from selfsup_audio.backbones.convolutions import norm_of_real
from selfsup_audio.backbones.transformers import TransformersAudio
from selfsup_audio.features import mel_statistics, mfcc_statistics, statistics
from selfsup_audio.spectra import MFCC, MFCCConfig
from selfsup_audio.tasks.hubert import TokenMFCC
from selfsup_audio.waveforms import standardized

STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
KINDS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
LENGTHS = (8000, 16000, 7999, 700, 399, 1)


def speech(**architecture: Any) -> dict[str, Any]:
    """Options of a small speech model."""
    return {"hidden_size": 32, "layers": 2, "heads": 2, "architecture": {"conv_dim": [16] * 7, **architecture}}


def recordings() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of several lengths, padded with zeros to the longest."""
    length = torch.tensor(LENGTHS)
    noise = torch.randn(len(LENGTHS), max(LENGTHS), generator=torch.Generator().manual_seed(0)) * 0.1
    return noise * (torch.arange(max(LENGTHS)) < length.unsqueeze(1)), length


@parametrize_backbones(modality="audio", members={f"transformers-audio/{kind}": speech() for kind in KINDS})
def test_backbones(case: BackboneCase, check: Any) -> None:
    check(case)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mel-cnn", {"mel": {"standardize": "fixed", "n_mels": 20}}),
        ("mel-vit", {"mel": {"standardize": "none"}}),
        ("gru", {"stack": 7, "mel": {"standardize": "none"}}),
        ("transformers-audio/wav2vec2", speech(**STABLE)),
        ("transformers-audio/wavlm", speech(**STABLE)),
        ("transformers-audio/hubert", speech(conv_pos_batch_norm=True)),
    ],
)
def test_backbones_with_other_options(name: str, options: dict[str, Any]) -> None:
    check_padding(BackboneCase(name, "audio", options))


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [*[(kind, {}) for kind in KINDS], ("wav2vec2", STABLE), ("hubert", {"conv_pos_batch_norm": True})],
)
@torch.no_grad()
def test_a_padded_recording_equals_the_librarys_result_for_it_alone(kind: str, architecture: dict[str, Any]) -> None:
    torch.manual_seed(0)
    info = {"sample_rate": 16000, "n_samples": 16000}
    backbone, _ = registry().build_backbone(f"transformers-audio/{kind}", speech(**architecture), info)
    assert isinstance(backbone.eval(), TransformersAudio)
    waveform, length = recordings()
    together = backbone({"waveform": waveform, "length": length})
    for row, n in enumerate(LENGTHS[:4]):
        alone = standardized(waveform[row : row + 1, :n], length[row : row + 1])
        wanted = backbone.model(alone).last_hidden_state[0]
        assert together.padding is not None
        assert together.tokens is not None
        tokens = together.tokens[row][~together.padding[row]]
        torch.testing.assert_close(tokens, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.pooled[row], wanted.mean(dim=0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["mel-cnn", "mel-vit", "gru", "wave-transformer-small", "transformers-audio/wav2vec2"])
@torch.no_grad()
def test_recordings_shorter_than_a_frame_are_padded_alike(name: str) -> None:
    case = BackboneCase(name, "audio", speech() if "/" in name else {})
    waveform, length = recordings()
    backbone = case.build()
    for row, n in ((3, 700), (4, 399), (5, 1)):
        one = {"waveform": waveform[row : row + 1, :n], "length": length[row : row + 1]}
        wanted = backbone(one).pooled
        for more in (1, 300, 5000):
            padded = backbone({**one, "waveform": F.pad(one["waveform"], (0, more))}).pooled
            assert (padded - wanted).norm() <= 1e-4 * wanted.norm()


def test_the_norm_over_real_frames_equals_the_norm_without_padding_and_so_do_its_gradients() -> None:
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(3, 3)
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    torch.nn.init.uniform_(norm.bias)
    x = torch.randn(2, 3, 9, requires_grad=True)
    real = torch.arange(9) < torch.tensor([[9], [5]])
    upstream = torch.randn(2, 3, 9)
    ours = norm_of_real(norm, x, real)
    given = torch.autograd.grad((ours * upstream * real.unsqueeze(1)).sum(), [x, norm.weight, norm.bias])
    parts = [norm(x[:1]), norm(x[1:, :, :5])]
    torch.testing.assert_close(ours[0], parts[0][0])
    torch.testing.assert_close(ours[1, :, :5], parts[1][0])
    loss = (parts[0] * upstream[:1]).sum() + (parts[1] * upstream[1:, :, :5]).sum()
    for one, other in zip(given, torch.autograd.grad(loss, [x, norm.weight, norm.bias]), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("features", ["mel", "mfcc", "deltas"])
def test_spectra_and_their_statistics(features: str) -> None:
    waveform, length = recordings()
    info = {"sample_rate": 16000, "n_samples": 16000}

    def of(waveform: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        if features == "deltas":
            frames, padding = MFCC(MFCCConfig(deltas=True), 16000)(waveform, length)
            return statistics(frames, padding)
        return {"mel": mel_statistics, "mfcc": mfcc_statistics}[features]({"waveform": waveform, "length": length}, info)

    together = of(waveform, length)
    for row, n in enumerate(LENGTHS):
        torch.testing.assert_close(
            together[row], of(waveform[row : row + 1, :n], length[row : row + 1])[0], atol=1e-3, rtol=1e-4
        )


def test_hubert_clusters_leave_padding_out_of_a_tokens_mean() -> None:
    waveform, length = torch.randn(1, 16000), torch.tensor([16000])
    features = TokenMFCC({"sample_rate": 16000, "n_samples": 16000})
    frames = features.mfcc.mel.n_frames(16000)
    whole = features({"waveform": waveform, "length": length}, (frames // 2,))
    padded = {"waveform": F.pad(waveform, (0, 16000)), "length": length}
    longer = features(padded, (features.mfcc.mel.n_frames(32000) // 2,))
    torch.testing.assert_close(longer[0, : frames // 2], whole[0], atol=1e-3, rtol=1e-3)


def test_the_equalizer_changes_a_padded_recording_in_the_same_way() -> None:
    waveform, length = recordings()
    short = equalize(waveform[:1, :8000], length[:1], 12.0, generator=torch.Generator().manual_seed(0))
    long = equalize(waveform[:1], length[:1], 12.0, generator=torch.Generator().manual_seed(0))
    assert (long[:, :8000] - short).norm() < 0.01 * short.norm()


@pytest.mark.parametrize("samples", [4096, 8192, 8000])
def test_the_equalizer_does_not_wrap_the_beginning_around_to_the_end(samples: int) -> None:
    click = torch.zeros(8, samples)
    click[:, 0] = 1
    heard = equalize(click, torch.full((8,), samples), 12.0, generator=torch.Generator().manual_seed(0))
    assert (heard[:, samples // 2 :].norm(dim=1) < 0.01 * heard.norm(dim=1)).all()
