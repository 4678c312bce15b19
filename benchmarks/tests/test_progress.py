from __future__ import annotations

import pytest

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.cell import Cell
from selfsup_bench.cells.lines import lines
from selfsup_bench.progress import Estimator, Progress, duration, headlines_of
from selfsup_bench.records.record import Record


def cell(kind: str, seed: int) -> Cell:
    return Cell(kind=kind, modality="toy", task=f"toy/{kind}", dataset="toyset", evaluators=(), seed=seed)  # type: ignore[arg-type]


def test_time_left_follows_each_kind_and_how_many_run_at_a_time() -> None:
    now = [0.0]
    cells = [cell("task", i) for i in range(5)] + [cell("raw", 0)]
    estimator = Estimator(cells, clock=lambda: now[0])
    assert estimator.seconds_left() is None
    now[0] = 10.0
    estimator.finished(cells[0], 10.0)
    estimator.finished(cells[1], 10.0)
    # Two cells of 10 s in 10 s: two at a time. Left: three tasks and one of a kind not seen yet.
    assert estimator.seconds_left() == pytest.approx(40 / 2)


def test_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell("task", 0), cell("task", 1)]
    progress = Progress(cells, reused=3, headlines={each.key({}): ["knn.accuracy"] for each in cells})
    for item, status in zip(cells, ("done", "failed"), strict=True):
        progress.started(item)
        error = "boom\nmore" if status == "failed" else ""
        progress.ended(item, Record(key="k", cell=item, status=status, error=error, metrics={"knn.accuracy": 0.5}))  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "2 cells to run (3 more are finished already)."
    assert lines[1].startswith("[1/2] toy-task.toyset.seed0")
    assert "knn.accuracy 0.500" in lines[1]
    assert "1 left, about" in lines[1]
    assert lines[2].endswith("FAILED: boom")


def test_durations_in_words() -> None:
    assert [duration(s) for s in (5, 300, 7200)] == ["5 s", "5 min", "2.0 h"]


def test_each_data_set_has_its_own_metric_and_supervised_training_all_labels(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = Cell(kind="task", modality="toy", task="toy/task", dataset="numbers", evaluators=(), seed=0)
    cells = [cell("task", 0), cell("supervised", 0), numbers]
    headlines = {each.key({}): ["few-labels.accuracy@10"] for each in cells} | {numbers.key({}): ["few-labels.r2@10"]}
    progress = Progress(cells, reused=0, headlines=headlines)
    metrics = {"few-labels.accuracy@10": 0.5, "linear.accuracy": 0.75, "few-labels.r2@10": 0.25}
    for item in cells:
        progress.started(item)
        progress.ended(item, Record(key="k", cell=item, status="done", metrics=metrics))
    lines = capsys.readouterr().err.splitlines()
    assert "few-labels.accuracy@10 0.500" in lines[1]
    assert "linear.accuracy 0.750" in lines[2]
    assert "few-labels.r2@10 0.250" in lines[3]


def test_a_data_set_with_two_headlines_shows_the_score_of_each_cell(capsys: pytest.CaptureFixture[str]) -> None:
    specs = [
        BenchmarkSpec(
            id=f"a-{name}", summary="x", task="toy/a", dataset="toyset", suites=("quick",), steps=steps, evaluators=(name,),
            headline=f"{name}.accuracy",
        )
        for name, steps in (("knn", 5), ("linear", 9))
    ]  # fmt: skip
    made = lines(specs, (0,), {spec.id: ("toy", "net") for spec in specs})
    cells = [line.cells["task"][0] for line in made]
    progress = Progress(cells, reused=0, headlines=headlines_of(made))
    for item in cells:
        progress.ended(item, Record(key="k", cell=item, status="done", metrics={f"{item.evaluators[0]}.accuracy": 0.5}))
    _, first, second = capsys.readouterr().err.splitlines()
    assert "knn.accuracy 0.500" in first
    assert "linear.accuracy 0.500" in second
