from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import nn

from selfsup.backbones import Backbone, TokenBackbone
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup_audio.backbones.gru import GRUBackbone, GRUConfig
from selfsup_audio.backbones.mel_cnn import MelCNN, MelCNNConfig
from selfsup_audio.backbones.mel_vit import MelViT, MelViTConfig
from selfsup_audio.backbones.recurrence import GRULayer
from selfsup_audio.backbones.wave import Stem, WaveTransformer, WaveTransformerConfig
from selfsup_audio.mock import mock_rows
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig
from selfsup_audio.spectra import LogMelConfig

INFO = {"sample_rate": 8000, "n_samples": 4000}
MAKE: dict[str, Callable[[], Backbone]] = {
    "mel-cnn": lambda: MelCNN(MelCNNConfig(embed_dim=24, channels=8), INFO),
    "mel-vit": lambda: MelViT(MelViTConfig(embed_dim=16, depth=2), INFO),
    "mel-vit-frames": lambda: MelViT(MelViTConfig(embed_dim=16, depth=2, patch_frames=2, patch_mels=None), INFO),
    "gru": lambda: GRUBackbone(GRUConfig(embed_dim=16, depth=2), INFO),
    "wave": lambda: WaveTransformer(WaveTransformerConfig(embed_dim=16, depth=2, channels=8), INFO),
}
TOKENS = [name for name in MAKE if name != "mel-cnn"]


def made(name: str) -> Any:
    torch.manual_seed(0)
    return MAKE[name]().eval()


def batch(n: int = 4) -> dict[str, torch.Tensor]:
    return AudioProcessor(AudioProcessorConfig(sample_rate=8000, clip_seconds=0.5))(mock_rows(n, 0))


@pytest.mark.parametrize("name", MAKE)
def test_integers_and_floats_give_the_same(name: str) -> None:
    recordings, backbone = batch(), made(name)
    floats = {**recordings, "waveform": recordings["waveform"].float() / 32768}
    assert torch.equal(backbone(recordings).pooled, backbone(floats).pooled)


@pytest.mark.parametrize("name", MAKE)
def test_shapes_of_what_is_encoded(name: str) -> None:
    backbone, encoded = made(name), made(name)(batch())
    assert encoded.pooled.shape == (4, backbone.embed_dim)
    assert encoded.tokens.shape == (4, torch.tensor(encoded.grid).prod(), backbone.embed_dim)
    assert encoded.padding.shape == encoded.tokens.shape[:2]
    assert not encoded.padding[:, 0].any()


@pytest.mark.parametrize("name", MAKE)
def test_silence_and_a_single_sample_give_finite_numbers(name: str) -> None:
    backbone = made(name).train()
    recordings = {"waveform": torch.zeros(3, 4000), "length": torch.tensor([4000, 1, 300])}
    output = backbone(recordings).pooled
    assert torch.isfinite(output).all()
    output.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters() if p.grad is not None)
    assert backbone({"waveform": torch.ones(2, 1), "length": torch.ones(2, dtype=torch.long)}).pooled.shape[0] == 2


@pytest.mark.parametrize("name", MAKE)
def test_loudness_changes_little(name: str) -> None:
    recordings, backbone = batch(), made(name)
    softer = {**recordings, "waveform": recordings["waveform"].float() / 32768 * 0.5}
    a, b = backbone(recordings).pooled, backbone(softer).pooled
    assert (a - b).norm() < 0.1 * a.norm()


@pytest.mark.parametrize("name", MAKE)
def test_no_step_waits_for_the_device(name: str) -> None:
    backbone = MAKE[name]().train()
    with fake_cuda(backbone, batch()) as fake:
        assert backbone(fake).pooled.device.type == "cuda"


@pytest.mark.parametrize("name", TOKENS)
def test_forward_is_pooling_over_encoded_tokens(name: str) -> None:
    backbone, recordings = made(name), batch()
    encoded, tokens = backbone(recordings), backbone.tokenize(recordings)
    assert torch.equal(backbone.encode(tokens), encoded.tokens)
    real = (~tokens.padding).unsqueeze(-1)
    torch.testing.assert_close((encoded.tokens * real).sum(1) / real.sum(1), encoded.pooled)
    layers = backbone.layer_outputs(tokens)
    assert len(layers) == 2
    assert torch.equal(layers[-1], encoded.tokens)
    assert layers[0].shape == layers[1].shape


@pytest.mark.parametrize("name", TOKENS)
def test_only_kept_tokens_are_seen(name: str) -> None:
    backbone = cast(TokenBackbone, made(name))
    tokens = backbone.tokenize(batch())
    N = tokens.embeddings.shape[1]
    keep = torch.stack([torch.randperm(N)[:5] for _ in range(4)])
    hidden = torch.ones(4, N, dtype=torch.bool).scatter(1, keep, False)
    kept = backbone.encode(tokens, keep=keep)
    assert kept.shape == (4, 5, backbone.embed_dim)
    changed = replace(tokens, embeddings=torch.where(hidden.unsqueeze(-1), 9.0, tokens.embeddings))
    assert torch.equal(backbone.encode(changed, keep=keep), kept)
    turned = backbone.encode(tokens, keep=keep.flip(1)).flip(1)
    torch.testing.assert_close(turned, kept, atol=1e-5, rtol=1e-4)
    everything = torch.arange(N).expand(4, N)
    torch.testing.assert_close(backbone.encode(tokens, keep=everything), backbone.encode(tokens), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TOKENS)
def test_padding_is_seen_by_no_token(name: str) -> None:
    backbone = made(name)
    tokens = backbone.tokenize(batch())
    changed = replace(tokens, embeddings=torch.where(tokens.padding.unsqueeze(-1), 9.0, tokens.embeddings))
    real = ~tokens.padding
    assert tokens.padding.any()
    assert torch.equal(backbone.encode(changed)[real], backbone.encode(tokens)[real])


@pytest.mark.parametrize("name", TOKENS)
def test_targets_are_as_many_as_tokens_and_carry_no_gradient(name: str) -> None:
    backbone, recordings = made(name), batch()
    targets, tokens = backbone.targets(recordings), backbone.tokenize(recordings)
    assert targets.shape == (*tokens.embeddings.shape[:2], backbone.target_dim)
    assert targets.dtype == torch.float32
    assert not targets.requires_grad
    assert targets[tokens.padding].abs().max() <= 20
    assert float(targets[~tokens.padding].std()) == pytest.approx(1, abs=0.3)


def test_patches_are_cut_from_the_spectrogram() -> None:
    backbone, recordings = made("mel-vit"), batch()
    frames, _ = backbone.mel(recordings["waveform"], recordings["length"])
    targets = backbone.targets(recordings)
    grid = backbone.tokenize(recordings).grid
    assert grid == (-(-frames.shape[1] // 8), 4)
    assert torch.equal(targets[0, 4 + 2].view(8, 16), frames[0, 8:16, 32:48])
    whole = made("mel-vit-frames")
    assert whole.by_frames
    assert whole.tokenize(recordings).grid == (-(-frames.shape[1] // 2),)
    assert torch.equal(whole.targets(recordings)[0, 3].view(2, 64), frames[0, 6:8])


def test_the_gru_looks_back_only() -> None:
    backbone = made("gru")
    assert backbone.causal
    tokens = backbone.tokenize(batch())
    later = replace(tokens, embeddings=torch.cat([tokens.embeddings[:, :5], torch.randn_like(tokens.embeddings[:, 5:])], dim=1))
    a, b = backbone.encode(tokens), backbone.encode(later)
    assert torch.equal(a[:, :5], b[:, :5])
    assert not torch.equal(a[:, 5], b[:, 5])


def test_the_recurrent_layer_is_torchs() -> None:
    ours = GRULayer(6)
    theirs = nn.GRU(6, 6, batch_first=True)
    state = {"weight_ih_l0": ours.input.weight, "weight_hh_l0": ours.state.weight, "bias_ih_l0": ours.input.bias,
             "bias_hh_l0": ours.state.bias}  # fmt: skip
    theirs.load_state_dict(state)
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(ours(x), theirs(x)[0])
    torch.testing.assert_close(ours.stepwise(x), theirs(x)[0])


def test_the_gru_runs_in_full_precision() -> None:
    backbone = made("gru")
    with torch.autocast("cpu", torch.bfloat16):
        assert backbone(batch()).tokens.dtype == torch.float32


@pytest.mark.parametrize(("rate", "hop", "reach"), [(16000, 320, 400), (8000, 160, 200), (22050, 320, 400), (44100, 640, 800)])
def test_the_stem_has_a_frame_every_twenty_milliseconds(rate: int, hop: int, reach: int) -> None:
    stem = Stem(4, rate)
    assert (stem.hop, stem.reach) == (hop, reach)
    assert stem(torch.randn(1, reach + 3 * hop)).shape == (1, 4, 4)
    if rate == 16000:
        assert stem.kernels == [10, 3, 3, 3, 3, 2, 2]
        assert stem.strides == [5, 2, 2, 2, 2, 2, 2]


def test_the_token_of_a_wave_sees_its_window_and_no_more() -> None:
    stem = Stem(4, 8000)
    waveform = torch.randn(1, 200 + 9 * 160)
    changed = waveform.clone()
    changed[:, 5 * 160 : 5 * 160 + 1] += 1
    same = (stem(waveform) == stem(changed)).all(dim=2)[0]
    assert same.tolist() == [index not in (4, 5) for index in range(10)]


def test_options_change_the_networks() -> None:
    assert MelCNN(MelCNNConfig(embed_dim=8, channels=4, mel=LogMelConfig(n_mels=20)), INFO)(batch()).pooled.shape == (4, 8)
    assert len(MelViT(MelViTConfig(embed_dim=16, depth=3, heads=2), INFO).transformer.blocks) == 3
    assert GRUBackbone(GRUConfig(embed_dim=8, stack=4), INFO).tokenize(batch()).grid == (12,)
    assert WaveTransformer(WaveTransformerConfig(embed_dim=16, depth=1, channels=8, n_mels=20), INFO).target_dim == 20


def test_sizes_that_do_not_fit_are_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="patch_mels=20 does not divide"):
        MelViT(MelViTConfig(patch_mels=20), INFO)
    with pytest.raises(ConfigError, match="heads=3 does not divide"):
        MelViT(MelViTConfig(embed_dim=16, heads=3), INFO)
    with pytest.raises(ConfigError, match="no bands"):
        registry().build_backbone("mel-cnn", {"mel": {"fmax": 5000.0}}, INFO)
