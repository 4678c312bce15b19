"""Cells of every kind on the embedded text, tables, sounds and videos, for a few steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from selfsup.registry import registry
from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.cell import options_under
from selfsup_bench.datasets.images import read_mnist
from selfsup_bench.planning.make_plan import make_plan
from selfsup_bench.records.record import Record, RecordStore
from selfsup_bench.report.markdown_page import markdown
from selfsup_bench.runner import run
from selfsup_bench.suites import BENCHMARKS


@pytest.fixture(autouse=True)
def _cache(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(embedded))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)


Measure = Callable[..., tuple[dict[str, Record], str]]


@pytest.fixture
def records_of(tmp_path: Path, in_process: Any, few_points: None) -> Measure:
    """Records by kind, and the table, of one benchmark of three steps."""

    def measured(overrides: Mapping[str, Any], **options: Any) -> tuple[dict[str, Record], str]:
        settings = {"precision": "32", "log_every": 1, **overrides}
        spec = BenchmarkSpec(
            id="tiny", summary="x", suites=("tiny",), steps=3, overrides=settings, **{"headline": "linear.accuracy", **options}
        )
        planned = make_plan([spec], suite="tiny", seeds=(0,), registry=registry(), device="cpu", threads=1)
        board = run(planned, tmp_path / "out", make_executor=in_process, device="cpu")
        assert board.failures == ()
        return {record.cell.kind: record for record in RecordStore(tmp_path / "out").all().values()}, markdown(board.tables[0])

    return measured


@pytest.mark.slow
def test_numbers_have_references_and_are_ranked_by_r2(records_of: Measure) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    records, table = records_of(
        {
            "optimization.batch_size": 32,
            "backbone.dim": 8,
            "evaluators.boosting.iterations": 20,
            "evaluators.few-labels.draws": 2,
            "scratch.epochs": 1,
        },
        task="tabular/vime",
        dataset="diabetes",
        evaluators=("linear", "few-labels"),
        headline="linear.r2",
        references=("boosting",),
    )
    assert set(records) == {"task", "random-init", "supervised", "scratch", "raw", "boosting"}
    assert records["raw"].metrics["linear.r2"] > 0.3
    own = {name for name in records["boosting"].metrics if not name.startswith("few-labels.")}
    assert own == {"boosting.r2", "boosting.rmse", "boosting.mae"}
    assert {kind for kind, record in records.items() if "few-labels.r2@10" in record.metrics} == {*records}
    assert records["boosting"].metrics["boosting.r2"] > 0.2
    assert "few-labels.r2@10" in records["task"].metrics
    assert records["task"].projection is not None
    assert len(records["task"].projection.class_names) == 5, "points are coloured by fifths of the numbers"
    assert records["boosting"].projection is None
    assert "linear R²" in table
    assert "*boosted trees*" in table
    shares = {kind: {result["pretrained_share"] for result in record.results} for kind, record in records.items()}
    assert shares == {kind: {0.0} for kind in records}, "cells are tested on rows that none of them was trained on"


def test_text_has_counted_words_as_a_reference(records_of: Measure) -> None:
    pytest.importorskip("selfsup_text", reason="needs the text plugin")
    overrides = {
        "optimization.batch_size": 16,
        "processor.vocab_size": 500,
        "processor.max_length": 16,
        "backbone.hidden_size": 16,
    }
    records, table = records_of(
        overrides,
        task="text/mlm",
        dataset="pydoc-topics",
        evaluators=("linear",),
        backbone="text-encoder-small",
    )
    assert set(records) == {"task", "random-init", "supervised", "raw"}
    assert records["raw"].metrics["linear.accuracy"] > 0.5
    assert [step for step, _ in records["task"].curve] == [1, 2, 3]
    assert "*TF-IDF*" in table


def test_sounds_have_two_kinds_of_raw_features(records_of: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("selfsup_audio", reason="needs the audio plugin")
    monkeypatch.setattr("selfsup_bench.datasets.sounds._SOUNDS", 12)
    few_rows(tmp_path, monkeypatch, "audio", "synthetic-sounds")
    overrides = {
        "optimization.batch_size": 8,
        "backbone.channels": 4,
        "backbone.embed_dim": 8,
        "backbone.mel.n_mels": 16,
        "backbone.mel.hop_seconds": 0.02,
    }
    records, table = records_of(
        overrides,
        task="audio/simclr",
        dataset="synthetic-sounds",
        evaluators=("linear",),
        references=("raw-mfcc",),
    )
    assert set(records) == {"task", "random-init", "supervised", "raw", "raw-mfcc"}
    assert records["raw"].metrics["linear.accuracy"] > 0.3
    assert records["raw-mfcc"].metrics["linear.accuracy"] > 0.3
    assert records["raw"].metrics != records["raw-mfcc"].metrics
    assert "*MFCC statistics*" in table


def test_videos_have_a_single_frame_as_a_reference(
    records_of: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("selfsup_video", reason="needs the video plugin")
    monkeypatch.setattr("selfsup_bench.datasets.videos._VIDEOS", 12)
    few_rows(tmp_path, monkeypatch, "video", "moving-digits")
    kind = "supervised-single-frame"
    overrides = {
        "optimization.batch_size": 8,
        "backbone.width": 4,
        "backbone.stages": 2,
        f"{kind}.backbone.width": 4,
        f"{kind}.backbone.stages": 2,
        "processor.frames": 4,
        "objective.hidden_dim": 16,
    }
    records, table = records_of(
        overrides,
        task="video/cvrl",
        dataset="moving-digits",
        evaluators=("retrieval", "linear"),
        references=(kind,),
    )
    assert set(records) == {"task", "random-init", "supervised", "raw", kind}
    assert records[kind].cell.backbone == "single-frame"
    assert {"retrieval.recall_at_1", "retrieval.recall_at_5", "retrieval.recall_at_10"} <= set(records["task"].metrics)
    assert "| *supervised (single-frame)* | single-frame |" in table


def few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modality: str, name: str) -> None:
    """Make an embedded data set, which the caller has made smaller, outside the shared cache, and use it by its name."""
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "small"))
    folder = tmp_path / "data" / modality / name
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        registry().load(registry().get("dataset", name))(split).to_parquet(str(folder / f"{split}.parquet"))
    monkeypatch.setenv("SELFSUP_DATA", str(tmp_path / "data"))


def test_overrides_of_the_processor_reach_its_parts() -> None:
    overrides = {"processor.options.text.max_length": 16, "processor.options.text.packing": "none", "processor.parts": ["text"]}
    assert options_under("processor.", {**overrides, "views.x": 1, "batch_size": 2}) == {
        "options": {"text": {"max_length": 16, "packing": "none"}},
        "parts": ["text"],
    }


@pytest.mark.slow
def test_pairs_have_the_raw_input_of_each_part_as_references(
    records_of: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("selfsup_multimodal", reason="needs the multimodal plugin")
    monkeypatch.setattr("selfsup_bench.datasets.captions.read_mnist", lambda: [part[::4] for part in read_mnist()])
    few_rows(tmp_path, monkeypatch, "multimodal", "captioned-digits")
    found = next(spec for spec in BENCHMARKS if spec.id == "captioned-digits-clip")
    own = {
        key: value for key, value in found.overrides.items() if not key.startswith(("optimization.", "evaluators.few-labels."))
    }
    records, table = records_of(
        {**own, "optimization.batch_size": 16, "backbone.towers.vision.options.width": 4, "backbone.joint_dim": 16},
        task=found.task,
        dataset=found.dataset,
        backbone=found.backbone,
        evaluators=("knn", "cross-modal-retrieval", "zero-shot", "missing-part"),
        headline="knn.accuracy",
        references=found.references,
    )
    assert set(records) == {"task", "random-init", "supervised", "raw", "raw-vision", "raw-text"}
    across = {"cross-modal-retrieval.recall_at_10", "cross-modal-retrieval.gallery_vision_text", "missing-part.rows"}
    for kind in ("task", "random-init", "supervised"):
        assert across <= set(records[kind].metrics), kind
    scores = {kind: records[kind].metrics["knn.accuracy"] for kind in ("raw", "raw-vision", "raw-text")}
    assert not any(across & set(records[kind].metrics) for kind in scores), "raw features have no embedding of a part"
    assert scores["raw-text"] < 0.75 < scores["raw-vision"], "a caption says some of the label, the picture most of it"
    assert "*pixels*" in table
