import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModel

import selfsup
from selfsup.backbones import unfreeze
from selfsup.errors import ArtifactError, ConfigError, UnknownIdError
from selfsup.registry import registry
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.training.run.resolve import resolve_config
from selfsup_audio.backbones.transformers import TransformersAudio
from selfsup_audio.waveforms import standardized

INFO = {"sample_rate": 16000, "n_samples": 8000}
CONVOLUTIONS = {"conv_dim": [8] * 7}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
KINDS = [("wav2vec2", {}), ("wav2vec2", STABLE), ("hubert", {}), ("hubert", STABLE), ("wavlm", {}), ("wavlm", STABLE),
         ("data2vec-audio", {})]  # fmt: skip


def made(name: str, architecture: dict[str, Any] | None = None, **options: Any) -> TransformersAudio:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "layers": 2, "heads": 2, "architecture": {**CONVOLUTIONS, **(architecture or {})}, **options}
    backbone, _ = registry().build_backbone(f"transformers-audio/{name}", sizes, INFO)
    assert isinstance(backbone, TransformersAudio)
    return backbone.eval()


@pytest.mark.parametrize(("name", "architecture"), KINDS)
@torch.no_grad()
def test_it_equals_the_library(name: str, architecture: dict[str, Any]) -> None:
    backbone = made(name, architecture)
    waveform, length = torch.randn(2, 400 + 9 * 320) * 0.1, torch.full((2,), 400 + 9 * 320)
    theirs = backbone.model(standardized(waveform, length), output_hidden_states=True)
    tokens = backbone.tokenize({"waveform": waveform, "length": length})
    torch.testing.assert_close(backbone.encode(tokens), theirs.last_hidden_state)
    layers = backbone.layer_outputs(tokens)
    assert len(layers) == 2
    torch.testing.assert_close(layers[0], theirs.hidden_states[1])


@pytest.mark.parametrize(("name", "architecture"), KINDS)
def test_only_kept_tokens_are_seen(batch, name: str, architecture: dict[str, Any]) -> None:
    backbone = made(name, architecture)
    tokens = backbone.tokenize(batch(3, 16000))
    keep = torch.tensor([[1, 4, 7], [0, 2, 9], [3, 1, 0]])
    hidden = torch.ones(tokens.embeddings.shape[:2], dtype=torch.bool).scatter(1, keep, False)
    changed = replace(tokens, embeddings=torch.where(hidden.unsqueeze(-1), 9.0, tokens.embeddings))
    kept = backbone.encode(tokens, keep=keep)
    assert kept.shape == (3, 3, 32)
    assert torch.equal(backbone.encode(changed, keep=keep), kept)


@pytest.mark.parametrize(
    ("name", "architecture"), [("wav2vec2", {}), ("wav2vec2", STABLE), ("wavlm", STABLE), ("data2vec-audio", {})]
)
def test_a_training_step_reaches_all_weights_and_draws_nothing(batch, name: str, architecture: dict[str, Any]) -> None:
    backbone = copy.deepcopy(made(name, architecture)).train()
    unfreeze(backbone)  # as fine-tuning does
    assert [key for key, value in backbone.named_parameters() if not value.requires_grad] == ["model.masked_spec_embed"]
    before = torch.get_rng_state()
    backbone(batch(3, 16000)).pooled.square().sum().backward()
    assert torch.equal(before, torch.get_rng_state())
    assert [key for key, value in backbone.named_parameters() if value.requires_grad and value.grad is None] == []
    with fake_cuda(backbone, batch(3, 16000)) as fake:
        assert backbone(fake).pooled.device.type == "cuda"


def test_options_for_targets_and_normalization(batch) -> None:
    recordings = batch(3, 16000)
    hubert = made("hubert", n_mels=20)
    assert hubert.targets(recordings).shape == (*hubert.tokenize(recordings).embeddings.shape[:2], 20)
    softer = {**recordings, "waveform": recordings["waveform"] // 8}
    for normalize in (True, False):
        backbone = made("wavlm", STABLE, normalize=normalize)
        change = (backbone.tokenize(softer).embeddings - backbone.tokenize(recordings).embeddings).norm()
        assert bool(change < 0.1 * backbone.tokenize(recordings).embeddings.norm()) == normalize


def test_an_exported_model_is_the_same_and_can_be_loaded(batch, tmp_path: Path) -> None:
    backbone, recordings = made("wav2vec2", STABLE), batch(3, 16000)
    backbone.export_folder("transformers", None, tmp_path)
    plain = AutoModel.from_pretrained(tmp_path).eval()
    assert AutoFeatureExtractor.from_pretrained(tmp_path).sampling_rate == 16000
    waveform = standardized(recordings["waveform"], recordings["length"])[:1, : 400 + 320 * 10]
    once = {"waveform": waveform, "length": torch.tensor([waveform.shape[1]])}
    torch.testing.assert_close(plain(standardized(**once)).last_hidden_state, backbone(once).tokens)
    again, options = registry().build_backbone("transformers-audio/wav2vec2", {"pretrained": str(tmp_path)}, INFO)
    torch.testing.assert_close(again.eval()(recordings).pooled, backbone(recordings).pooled)
    # Without the folder, what it described still builds the same network.
    rest = {key: value for key, value in options.model_dump().items() if key not in ("pretrained", "name")}
    rebuilt, _ = registry().build_backbone("transformers-audio/wav2vec2", rest, INFO)
    rebuilt.load_state_dict(again.state_dict())
    torch.testing.assert_close(rebuilt.eval()(recordings).pooled, backbone(recordings).pooled)
    with pytest.raises(ArtifactError, match="no export format 'timm'"):
        backbone.export_folder("timm", None, tmp_path)


def test_pretrained_weights_bring_their_rate_and_scaling(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    slow, plain = tmp_path / "slow", tmp_path / "plain"
    made("wav2vec2").export_folder("transformers", None, plain)
    (plain / "preprocessor_config.json").unlink()
    made("wav2vec2", normalize=False).export_folder("transformers", None, slow)
    described = json.loads((slow / "preprocessor_config.json").read_text())
    assert described["do_normalize"] is False
    (slow / "preprocessor_config.json").write_text(json.dumps({**described, "sampling_rate": 8000}))
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", 0.1 * torch.randn(4000).numpy(), 11025)
    options: dict[str, Any] = {"data": str(folder), "backbone": "transformers-audio/wav2vec2", "batch_size": 2}
    overrides = {"backbone.pretrained": str(slow), "processor.clip_seconds": 0.3}
    run = selfsup.pretrain("audio/random-init", **options, out=tmp_path / "run", overrides=overrides)
    backbone: Any = run.encoder.backbone
    assert (backbone.sample_rate, backbone.normalize) == (8000, False)
    shown = " ".join(capfd.readouterr().err.split())
    assert "With the pretrained weights come processor.sample_rate=8000, waveforms are taken as they are." in shown
    asked = resolve_config({"task": "audio/random-init", **options, **overrides, "backbone.normalize": True})
    assert (asked.backbone_options["normalize"], asked.processor_options["sample_rate"]) == (True, 8000)
    other = {**overrides, "processor.sample_rate": 16000}
    with pytest.raises(ConfigError, match=r"at 8000 Hz, and these have 16000: leave processor\.sample_rate out"):
        selfsup.pretrain("audio/random-init", **options, out=tmp_path / "other", overrides=other)
    # A folder without a preprocessor_config.json is like the papers' models.
    silent = resolve_config({"task": "audio/random-init", **options, "backbone.pretrained": str(plain)})
    assert (silent.backbone_options["normalize"], silent.processor_options["sample_rate"]) == (True, 16000)
    (plain / "preprocessor_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json cannot be read"):
        resolve_config({"task": "audio/random-init", **options, "backbone.pretrained": str(plain)})


def test_what_does_not_fit_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownIdError, match="one of wav2vec2, hubert"):
        made("whisper")
    with pytest.raises(ConfigError, match="does not divide the width 32"):
        made("wav2vec2", heads=3)
    with pytest.raises(ConfigError, match="does not take these sizes"):
        made("wav2vec2", {"conv_dim": [8]})
    made("hubert").export_folder("transformers", None, tmp_path)
    build = registry().build_backbone
    with pytest.raises(ConfigError, match="is no folder"):
        build("transformers-audio/hubert", {"pretrained": "nowhere"}, INFO)
    with pytest.raises(ConfigError, match="of type hubert, and the backbone is wavlm"):
        build("transformers-audio/wavlm", {"pretrained": str(tmp_path)}, INFO)
    with pytest.raises(ConfigError, match="cannot be set together with"):
        build("transformers-audio/hubert", {"pretrained": str(tmp_path), "layers": 3}, INFO)
    with pytest.raises(ConfigError, match=r"leave processor\.sample_rate out, or set it to 16000"):
        build("transformers-audio/hubert", {"pretrained": str(tmp_path)}, {"sample_rate": 8000, "n_samples": 4000})
