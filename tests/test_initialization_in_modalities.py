"""In every modality a run starts from an encoder, and takes its processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.artifacts import Encoder
from selfsup.errors import ArtifactError, ConfigError
from selfsup.registry import registry
from selfsup.testing.kit.cases import load_mock_rows

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "audio": ("mel-vit", {"embed_dim": 32, "depth": 1}),
    "tabular": ("ft-transformer", {"dim": 32, "depth": 1}),
    "text": ("text-encoder-small", {"hidden_size": 32, "layers": 1}),
    "video": ("video-vit-small", {"embed_dim": 32, "depth": 1, "heads": 2}),
    "vision": ("vit-tiny", {"embed_dim": 32, "depth": 1, "heads": 2}),
}
"""A backbone of each modality that is not its default, or not of its default size."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


def encoder(modality: str) -> Encoder:
    """Of drawn weights, fitted on some mock rows."""
    kind = registry().processor_class(modality)
    processor = kind(kind.Config()).fit(load_mock_rows(modality, 40, 0))
    id, options = SMALL[modality]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        backbone, config = registry().build_backbone(id, options, processor.info())
    return Encoder(processor, backbone, backbone_id=id, backbone_options=config)


def pretrain(modality: str, out: Path, **options: Any) -> selfsup.Run:
    rows = load_mock_rows(modality, 24, 1)  # others than the processor was fitted on
    narrow = {"objective.hidden_dim": 16, "objective.output_dim": 8, **options.pop("overrides", {})}
    return selfsup.pretrain(
        f"{modality}/vicreg", rows, out=out, batch_size=8, precision="32", progress=False, overrides=narrow, **options
    )


@pytest.mark.parametrize("modality", SMALL)
def test_no_step_gives_the_encoder_that_it_started_from(modality: str, tmp_path: Path) -> None:
    source = encoder(modality)
    run = pretrain(modality, tmp_path / "run", init=source.save(tmp_path / "encoder"), steps=0)
    assert run.encoder.backbone_id == SMALL[modality][0]
    assert run.encoder.digest() == source.digest()


@pytest.mark.parametrize("modality", SMALL)
def test_an_encoder_teaches_another_network(modality: str, tmp_path: Path) -> None:
    source = encoder(modality)
    run = selfsup.pretrain(
        f"{modality}/distill",
        load_mock_rows(modality, 24, 1),
        out=tmp_path / "run",
        batch_size=8,
        precision="32",
        steps=1,
        progress=False,
        overrides={"objective.teacher": str(source.save(tmp_path / "encoder"))},
        backbone=SMALL[modality][0],
    )
    assert run.encoder.embed_dim != source.embed_dim
    assert run.encoder.processor.info() == source.processor.info()
    assert all(torch.isfinite(torch.tensor(line["loss"])) for line in run.metrics if "loss" in line)


@pytest.mark.parametrize(
    ("modality", "option", "value", "theirs"),
    [
        ("audio", "clip_seconds", 0.3, "n_samples"),
        ("text", "max_length", 200, "max_length"),
        ("video", "image_size", 32, "image_size"),
        ("vision", "image_size", 64, "image_size"),
    ],
)
def test_sizes_can_be_set_otherwise(modality: str, option: str, value: Any, theirs: str, tmp_path: Path) -> None:
    source = encoder(modality)
    folder = source.save(tmp_path / "encoder")
    run = pretrain(modality, tmp_path / "run", init=folder, steps=1, overrides={f"processor.{option}": value})
    assert run.encoder.processor.info()[theirs] != source.processor.info()[theirs]
    own, given = run.encoder.processor.info(), source.processor.info()
    assert {key for key in own if own[key] != given[key]} == {theirs}  # nothing else was fitted anew


@pytest.mark.parametrize(
    ("modality", "option", "value"),
    [
        ("audio", "sample_rate", 4000),
        ("tabular", "scaling", "quantile"),
        ("text", "tokenizer", "bpe"),
        ("vision", "value_range", [0, 1]),
    ],
)
def test_what_was_learned_from_rows_cannot_be_set(modality: str, option: str, value: Any, tmp_path: Path) -> None:
    folder = encoder(modality).save(tmp_path / "encoder")
    with pytest.raises(ConfigError, match=rf"processor\.{option}=.* cannot be set: the processor comes with"):
        pretrain(modality, tmp_path / "run", init=folder, steps=1, overrides={f"processor.{option}": value})
    assert not (tmp_path / "run").exists()


def test_another_modality_and_another_shape(tmp_path: Path) -> None:
    folder = encoder("text").save(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="is an encoder for text, not for vision"):
        pretrain("vision", tmp_path / "run", init=folder, steps=1)
    with pytest.raises(ArtifactError, match=r"do not fit this TransformersBackbone: 0 % .*word_embeddings.weight \("):
        pretrain("text", tmp_path / "run", init=folder, steps=1, overrides={"backbone.hidden_size": 16})
