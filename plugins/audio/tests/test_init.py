"""Recordings that start from a model of the transformers library, and from encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

import selfsup
from selfsup.artifacts.initial_weights import initial_weights, load_into
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup_audio.mock import mock_rows
from selfsup_audio.processor import AudioProcessor


@pytest.fixture
def wav2vec2(tmp_path: Path) -> str:
    """A small model and what its recordings were like, as the library leaves them."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = Wav2Vec2Config(**sizes, conv_dim=[8] * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2)
    Wav2Vec2Model(config).save_pretrained(tmp_path / "model")
    extractor: Any = Wav2Vec2FeatureExtractor
    extractor(sampling_rate=8000, do_normalize=False).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_a_folder_brings_its_rate_and_its_scaling(wav2vec2: str, tmp_path: Path) -> None:
    run = selfsup.pretrain(
        "audio/random-init", mock_rows(8, 0), out=tmp_path / "run", init=wav2vec2, batch_size=4, progress=False
    )
    assert run.config.backbone == "transformers-audio/wav2vec2"
    assert run.encoder.processor.info()["sample_rate"] == 8000
    assert run.config.backbone_options["normalize"] is False
    theirs, ours = AutoModel.from_pretrained(wav2vec2).state_dict(), run.encoder.backbone.state_dict()
    assert all(torch.equal(ours[f"model.{name}"], value) for name, value in theirs.items())
    assert json.loads((run.dir / "run.json").read_text())["init"]["source"] == wav2vec2


def test_another_rate_is_refused(wav2vec2: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was pretrained on recordings at 8000 Hz, and these have 16000"):
        selfsup.pretrain(
            "audio/random-init", mock_rows(8, 0), out=tmp_path / "run", init=wav2vec2, batch_size=4, progress=False,
            overrides={"processor.sample_rate": 16000},
        )  # fmt: skip


def test_an_encoder_is_for_its_own_rate(tmp_path: Path) -> None:
    run = selfsup.pretrain("audio/random-init", mock_rows(8, 0), out=tmp_path / "run", batch_size=4, progress=False)
    found = initial_weights(run.dir, "audio")
    assert isinstance(found.processor, AudioProcessor)
    info = {**found.processor.info(), "sample_rate": 11025}
    backbone, _ = registry().build_backbone(found.backbone_id, found.options, info)
    with pytest.raises(ConfigError, match=r"it was trained on recordings at \d+ Hz, and these have 11025"):
        load_into(backbone, found, info)


def test_a_model_of_speech_teaches_a_small_network(wav2vec2: str, tmp_path: Path) -> None:
    run = selfsup.pretrain(
        "audio/distill", mock_rows(8, 0), out=tmp_path / "run", batch_size=4, steps=1, progress=False, precision="32",
        backbone="mel-cnn", overrides={"objective.teacher": wav2vec2, "backbone.channels": 8, "backbone.embed_dim": 16},
    )  # fmt: skip
    assert run.encoder.processor.info()["sample_rate"] == 8000
    assert run.encoder.metadata["taught_by"] == wav2vec2
