"""Cells of every kind, on real digits with the real vision plugin, for a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from selfsup.data import load_source
from selfsup.registry import registry
from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.lines import lines
from selfsup_bench.cells.previews import read_previews
from selfsup_bench.cells.projection import drawn_places
from selfsup_bench.cells.raw_features import fitted_raw_encoder
from selfsup_bench.cells.run_cell import Sources, _projection
from selfsup_bench.executors import Job
from selfsup_bench.executors.local import LocalExecutor
from selfsup_bench.planning.make_plan import Planned, make_plan
from selfsup_bench.records.record import RecordStore
from selfsup_bench.runner import run

pytest.importorskip("selfsup_vision", reason="needs the vision plugin")


def spec(task: str = "vision/rotation", **options: object) -> BenchmarkSpec:
    overrides = {"backbone.width": 4, "optimization.batch_size": 32, "precision": "32", "log_every": 1}
    given = {"dataset": "digits", "backbone": "resnet-narrow", "steps": 3, "overrides": overrides, **options}
    evaluators, headline = ("knn",), "knn.accuracy"
    return BenchmarkSpec(id="tiny", summary="x", task=task, suites=("tiny",), evaluators=evaluators, headline=headline, **given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)


def plan_of(*specs: BenchmarkSpec) -> Planned:
    return make_plan(specs, suite="tiny", seeds=(0,), registry=registry(), device="cpu", threads=1)


def test_a_benchmark_from_plan_to_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    board = run(plan_of(spec()), out, make_executor=lambda start: LocalExecutor(on_start=start), device="cpu")
    assert board.failures == ()
    assert {row.kind for row in board.tables[0].rows} == {"task", "random-init", "supervised", "raw"}
    records = {record.cell.kind: record for record in RecordStore(out).all().values()}
    assert [step for step, _ in records["task"].curve] == [1, 2, 3]
    assert records["raw"].metrics["knn.accuracy"] > 0.9
    assert records["supervised"].samples_per_second
    assert records["random-init"].curve == ()
    assert records["task"].projection is not None
    drawn = records["task"].projection
    assert len(drawn.x) == 355
    assert records["raw"].projection is not None
    assert drawn.places == records["raw"].projection.places == tuple(range(355)), "every encoder is drawn with the same rows"
    previews = read_previews(out, [drawn.previews])[drawn.previews]
    assert set(previews.rows) == set(drawn.places)
    assert previews.tile == (8, 8)
    page = (out / "report.html").read_text()
    assert page.count('class="chart scatter"') == 4
    assert page.count(f'data-embeddings="{drawn.previews}"') == page.count(f'id="sheet-{drawn.previews}"') == 1
    before = {path: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    again = run(plan_of(spec()), out, make_executor=lambda start: LocalExecutor(on_start=start), device="cpu", resume=True)
    assert again == board
    assert {path: path.stat().st_mtime_ns for path in (out / "records").iterdir()} == before


def test_points_are_rows_whatever_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsup_bench.cells.projection.MOST_ROWS", 40)
    data = load_source("digits", modality=registry().get("modality", "vision"), split="test").dataset
    plain = data.cast_column("image", datasets.Image(decode=False)).to_list()
    for row in plain[::3]:
        row["image"]["bytes"] = b"broken"
    test = datasets.Dataset.from_list(plain, features=data.features)
    cell = lines([spec()], (0,), {spec().id: ("vision", "resnet-narrow")})[0].cells["raw"][0]
    job = Job(key="k", cell=cell, out=tmp_path, circumstances={}, draw=True)
    encoder = fitted_raw_encoder("vision", "digits", overrides={})
    drawn = _projection(encoder, job, Sources("digits", "digits", test))
    good = [place for place in drawn_places(len(data)).tolist() if place % 3]
    assert 10 < len(good) < 40
    assert list(drawn.places) == good
    assert [int(drawn.class_names[label]) for label in drawn.labels] == [plain[place]["label"] for place in good]
    assert sorted(read_previews(tmp_path, [drawn.previews])[drawn.previews].rows) == good


def test_a_cell_that_cannot_run_says_why(tmp_path: Path, in_process: Any, few_points: None) -> None:
    planned = plan_of(spec(overrides={"backbone.width": 4, "optimization.batch_size": 100_000}))
    board = run(planned, tmp_path / "out", make_executor=in_process, device="cpu")
    errors = dict(board.failures)
    assert set(errors) == {"vision-rotation.digits.resnet-narrow.seed0", "vision-supervised.digits.resnet-narrow.seed0"}
    assert all("batch_size=100000 is larger than the data" in error for error in errors.values())


def test_key_follows_the_data(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(embedded))
    first, second = plan_of(spec()), plan_of(spec(dataset="mnist-5k"))
    assert not set(first.circumstances) & set(second.circumstances)
    assert next(iter(first.circumstances.values()))["versions"]["selfsup"]


def test_data_that_cannot_be_had_is_said_cell_by_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELFSUP_DATA", str(tmp_path))
    (tmp_path / "vision" / "digits").mkdir(parents=True)
    planned = plan_of(spec())
    assert len(planned.unavailable) == len(planned.plan.cells())
    assert all("digits" in reason for reason in planned.unavailable.values())
