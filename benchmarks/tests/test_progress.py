from __future__ import annotations

import pytest

from selfsup_bench.cells import Cell
from selfsup_bench.progress import Estimator, Progress, duration
from selfsup_bench.records import Record


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
    progress = Progress(cells, reused=3, headlines={"toy": "knn.accuracy"})
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
