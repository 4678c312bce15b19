"""The grids of sounds and videos: retrieval, and a few real cells of a step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from datasets import ClassLabel, Dataset, Features

from selfsup.registry import registry
from selfsup_bench.datasets.cache import file_feature
from selfsup_bench.datasets.sounds import KINDS, sound, wav
from selfsup_bench.datasets.videos import gif, moving
from selfsup_bench.quality import audio, measure, video
from selfsup_bench.quality.__main__ import main
from selfsup_bench.quality.cells import Chosen, cells_of
from selfsup_bench.quality.grid_cell import GridCell


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SELFSUP_DATA", str(tmp_path / "data"))


def write(folder: Path, column: str, files: list[bytes]) -> None:
    """Training and test split of some files, of two classes in turn."""
    folder.mkdir(parents=True)
    features = Features({column: file_feature(), "label": ClassLabel(names=["one", "other"])})
    for split, part in (("train", files[:12]), ("test", files[12:])):
        rows = [{"bytes": data, "path": None} for data in part]
        made = Dataset.from_dict({column: rows, "label": [i % 2 for i in range(len(rows))]}, features=features)
        made.to_parquet(str(folder / f"{split}.parquet"))


@pytest.fixture
def videos(tmp_path: Path) -> str:
    """Digits-like squares that go right or left."""
    rng = np.random.default_rng(0)
    square = np.full((14, 14), 200, dtype=np.uint8)
    write(tmp_path / "data/video/squares", "video", [gif(moving(square, square // 2, 4 * (i % 2), rng)) for i in range(18)])
    return "squares"


def test_references_of_sounds_and_videos() -> None:
    pytest.importorskip("selfsup_audio", reason="needs the audio plugin")
    pytest.importorskip("selfsup_video", reason="needs the video plugin")
    of_audio, of_video = ({(c.method, c.backbone) for c in cells_of(g, Chosen(steps=5, seeds=1), registry())}
                          for g in (audio.GRID, video.GRID))  # fmt: skip
    assert {("raw", ""), ("raw-mfcc", ""), ("scratch", "mel-cnn"), ("random-init", "gru")} <= of_audio
    assert {("raw", ""), ("scratch", "single-frame"), ("random-init", "single-frame"), ("scratch", "conv3d-small")} <= of_video


def cell(method: str, backbone: str = "conv3d-small", **options: Any) -> GridCell:
    overrides = {"processor.frames": 4, "optimization.batch_size": 4, "backbone.width": 4, "backbone.stages": 1}
    return GridCell(
        **{
            "modality": "video",
            "dataset": "squares",
            "label": "",
            "method": method,
            "backbone": backbone,
            "seed": 0,
            "labels": ("4", "all"),
            "repeats": 1,
            "steps": 1,
            "finetune_epochs": 1,
            "overrides": tuple({**overrides, **options}.items()),
        }
    )


def test_videos_are_looked_for_among_the_labelled_ones(videos: str, tmp_path: Path) -> None:
    pytest.importorskip("selfsup_video", reason="needs the video plugin")
    scores = measure.measure(cell("random-init"), tmp_path / "run")
    for setting in ("4", "all"):
        assert {"accuracy", "auroc", "recall_at_1", "recall_at_5", "recall_at_10"} <= set(scores[setting])
        assert 0 <= scores[setting]["recall_at_1"] <= scores[setting]["recall_at_5"] <= scores[setting]["recall_at_10"] == 1


def test_weights_trained_with_labels_have_options_of_their_own(
    videos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("selfsup_video", reason="needs the video plugin")
    seen: list[Any] = []
    real = measure.finetune_encoder

    def train(encoder: Any, split: Any, config: Any, *, seed: int) -> Any:
        seen.append(config)
        return real(encoder, split, config, seed=seed)

    monkeypatch.setattr(measure, "finetune_encoder", train)
    scores = measure.measure(cell("scratch", **{"finetune.augment": False, "finetune.min_steps": 2}), tmp_path / "run")
    assert {(config.augment, config.min_steps, config.epochs) for config in seen} == {(False, 2, 1)}
    assert not any(name.startswith("recall") for name in scores["all"])


def test_video_from_the_command_line_shows_retrieval(videos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("selfsup_video", reason="needs the video plugin")
    arguments = ["video", "--dataset", videos, "--method", "raw", "--labels", "all", "--seeds", "1", "--jobs", "1"]
    arguments += ["--out", str(tmp_path / "out"), "--json"]
    small = {"conv3d-small": {"backbone.width": 4, "backbone.stages": 1}}
    monkeypatch.setattr(video, "GRID", replace(video.GRID, of_backbone=small))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {row["method"] for row in document["retrieval"][0]["rows"]} == {"raw", "random-init"}
    assert set(document["retrieval"][0]["rows"][0]["scores"]) == {"R@1", "R@5", "R@10"}
    assert set(document["tables"][0]["rows"][0]["scores"]) == {"all"}


def test_audio_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("selfsup_audio", reason="needs the audio plugin")
    rng = np.random.default_rng(0)
    write(tmp_path / "data/audio/tones", "audio", [wav(sound(KINDS[i % 2], rng)) for i in range(18)])
    arguments = ["audio", "--dataset", "tones", "--method", "raw-mfcc", "--labels", "4,all", "--seeds", "1", "--jobs", "1"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "| *MFCC statistics + logistic regression* | – |" in result.stdout
    assert "recall" not in result.stdout
