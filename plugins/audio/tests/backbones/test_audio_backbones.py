from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from selfsup.backbones import Backbone
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup_audio.backbones.gru import GRUBackbone, GRUConfig
from selfsup_audio.backbones.mel_cnn import MelCNN, MelCNNConfig
from selfsup_audio.backbones.mel_vit import MelViT, MelViTConfig
from selfsup_audio.backbones.recurrence import GRULayer
from selfsup_audio.backbones.wave import Stem, WaveTransformer, WaveTransformerConfig
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


@pytest.mark.parametrize("name", MAKE)
def test_embeddings_have_their_shape_and_stay_finite(batch, name: str) -> None:
    backbone, recordings = made(name), batch()
    encoded, waveform = backbone(recordings), recordings["waveform"].float() / 32768
    assert encoded.pooled.shape == (4, backbone.embed_dim)
    assert encoded.tokens.shape == (4, torch.tensor(encoded.grid).prod(), backbone.embed_dim)
    assert encoded.padding.shape == encoded.tokens.shape[:2]
    assert not encoded.padding[:, 0].any()
    assert torch.equal(backbone({**recordings, "waveform": waveform}).pooled, encoded.pooled)  # int16 or float
    softer = backbone({**recordings, "waveform": waveform / 2}).pooled
    assert (encoded.pooled - softer).norm() < 0.1 * encoded.pooled.norm()
    # Silence, and recordings of a single sample.
    output = backbone.train()({"waveform": torch.zeros(3, 4000), "length": torch.tensor([4000, 1, 300])}).pooled
    output.sum().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters() if p.grad is not None)
    assert backbone({"waveform": torch.ones(2, 1), "length": torch.ones(2, dtype=torch.long)}).pooled.shape[0] == 2


@pytest.mark.parametrize("name", TOKENS)
def test_token_backbones_pool_real_tokens_and_see_kept_ones_only(batch, name: str) -> None:
    backbone, recordings = made(name), batch()
    encoded, tokens = backbone(recordings), backbone.tokenize(recordings)
    assert torch.equal(backbone.encode(tokens), encoded.tokens)
    real = (~tokens.padding).unsqueeze(-1)
    torch.testing.assert_close((encoded.tokens * real).sum(1) / real.sum(1), encoded.pooled)
    layers = backbone.layer_outputs(tokens)
    assert [layer.shape for layer in layers] == [encoded.tokens.shape] * 2
    assert torch.equal(layers[-1], encoded.tokens)
    N = tokens.embeddings.shape[1]
    keep = torch.stack([torch.randperm(N)[:5] for _ in range(4)])
    hidden = torch.ones(4, N, dtype=torch.bool).scatter(1, keep, False)
    kept = backbone.encode(tokens, keep=keep)
    changed = replace(tokens, embeddings=torch.where(hidden.unsqueeze(-1), 9.0, tokens.embeddings))
    assert torch.equal(backbone.encode(changed, keep=keep), kept)
    torch.testing.assert_close(backbone.encode(tokens, keep=keep.flip(1)).flip(1), kept, atol=1e-5, rtol=1e-4)
    everything = torch.arange(N).expand(4, N)
    torch.testing.assert_close(backbone.encode(tokens, keep=everything), encoded.tokens, atol=1e-5, rtol=1e-4)
    targets = backbone.targets(recordings)
    assert targets.shape == (*tokens.embeddings.shape[:2], backbone.target_dim)
    assert not targets.requires_grad
    assert targets[tokens.padding].abs().max() <= 20
    assert float(targets[~tokens.padding].std()) == pytest.approx(1, abs=0.3)


def test_patches_are_cut_from_the_spectrogram(batch) -> None:
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


def test_the_gru_looks_back_only(batch) -> None:
    backbone = made("gru")
    assert backbone.causal
    tokens = backbone.tokenize(batch())
    later = replace(tokens, embeddings=torch.cat([tokens.embeddings[:, :5], torch.randn_like(tokens.embeddings[:, 5:])], dim=1))
    a, b = backbone.encode(tokens), backbone.encode(later)
    assert torch.equal(a[:, :5], b[:, :5])
    with torch.autocast("cpu", torch.bfloat16):  # it runs in full precision
        assert backbone(batch()).tokens.dtype == torch.float32
    assert not torch.equal(a[:, 5], b[:, 5])


def test_the_recurrent_layer_equals_torchs() -> None:
    ours = GRULayer(6)
    theirs = nn.GRU(6, 6, batch_first=True)
    state = {"weight_ih_l0": ours.input.weight, "weight_hh_l0": ours.state.weight, "bias_ih_l0": ours.input.bias,
             "bias_hh_l0": ours.state.bias}  # fmt: skip
    theirs.load_state_dict(state)
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(ours(x), theirs(x)[0])
    torch.testing.assert_close(ours.stepwise(x), theirs(x)[0])


@pytest.mark.parametrize(("rate", "hop", "reach"), [(16000, 320, 400), (8000, 160, 200), (22050, 320, 400), (44100, 640, 800)])
def test_the_stem_has_a_frame_every_twenty_milliseconds(rate: int, hop: int, reach: int) -> None:
    stem = Stem(4, rate)
    assert (stem.hop, stem.reach) == (hop, reach)
    assert stem(torch.randn(1, reach + 3 * hop)).shape == (1, 4, 4)
    if rate == 16000:
        assert stem.kernels == [10, 3, 3, 3, 3, 2, 2]
        assert stem.strides == [5, 2, 2, 2, 2, 2, 2]


def test_a_token_of_the_waveform_sees_its_window_only() -> None:
    stem = Stem(4, 8000)
    waveform = torch.randn(1, 200 + 9 * 160)
    changed = waveform.clone()
    changed[:, 5 * 160 : 5 * 160 + 1] += 1
    same = (stem(waveform) == stem(changed)).all(dim=2)[0]
    assert same.tolist() == [index not in (4, 5) for index in range(10)]


def test_options_change_the_networks(batch) -> None:
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
