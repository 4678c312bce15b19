"""The folder of a run: nobody else's is touched, and what is read back is whole."""

from __future__ import annotations

import json
import math

import pytest

from selfsup.artifacts import RunDirectory, default_run_path
from selfsup.errors import DataWarning, RunDirectoryError


def make(path) -> RunDirectory:
    return RunDirectory.create(path, task="toy/simclr", config={"lr": 0.1}, seed=3)


def test_run_file(tmp_path):
    run = make(tmp_path / "runs" / "one")
    info = json.loads((tmp_path / "runs" / "one" / "run.json").read_text())
    assert info["task"] == "toy/simclr"
    assert info["status"] == "running"
    assert info["config"] == {"lr": 0.1}
    assert info["seed"] == 3
    assert {"packages", "device", "cpu", "python"} <= set(info["environment"])
    run.update(status="done", note="x")
    assert run.status == "done"
    assert RunDirectory.open(run.path).info()["note"] == "x"
    assert RunDirectory.open(run.path).info()["config"] == {"lr": 0.1}
    assert [item.name for item in run.path.iterdir()] == ["run.json"], "nothing temporary stays"


def test_folders_that_hold_something_else_are_refused(tmp_path):
    make(tmp_path / "run").update(status="stopped")
    with pytest.raises(RunDirectoryError, match=r"run holds a run of toy/simclr \(status stopped\).*--resume.*--out"):
        make(tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    make(tmp_path / "thesis" / "empty-is-fine")
    with pytest.raises(RunDirectoryError, match="thesis is no run and not empty"):
        make(tmp_path / "thesis")
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match="file is a file"):
        make(tmp_path / "file")
    assert not RunDirectory.is_run(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"holds no run: there is no run\.json"):
        RunDirectory.open(tmp_path)
    for text, words in (("{", "Cannot read"), ("{}", "not of selfsup")):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunDirectoryError, match=words):
            RunDirectory.open(tmp_path)


def test_run_of_another_task_or_version(tmp_path):
    run = make(tmp_path / "run")
    assert RunDirectory.open(run.path, task="toy/simclr").path == run.path
    with pytest.raises(RunDirectoryError, match=r"holds a run of toy/simclr, not of toy/byol"):
        RunDirectory.open(run.path, task="toy/byol")
    info = json.loads(run.run_file.read_text())
    run.run_file.write_text(json.dumps({**info, "format_version": 5}))
    with pytest.raises(RunDirectoryError, match=r"later selfsup \(run format 5"):
        RunDirectory.open(run.path)


def test_metrics(tmp_path):
    run = make(tmp_path / "run")
    assert list(run.metrics()) == []
    for step in (1, 2, 3):
        run.log(step, {"loss": 1 / step})
    run.log(4, {"loss": math.nan})
    assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4]
    assert list(run.metrics())[-1] == {"step": 4, "loss": None}
    run.truncate_metrics(2)
    assert list(run.metrics()) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    with run.metrics_file.open("a") as file:
        file.write('{"step": 3, "lo')  # a crash cuts the line short
    assert [line["step"] for line in run.metrics()] == [1, 2]
    run.truncate_metrics(5)
    run.log(3, {"loss": 0.5})
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]


@pytest.mark.parametrize(("count", "text"), [(1, "A damaged line was removed"), (2, "2 damaged lines were removed")])
def test_damaged_lines_of_metrics_do_not_stop_a_resumed_run(tmp_path, count, text):
    run = make(tmp_path / "run")
    run.log(1, {"loss": 1.0})
    with run.metrics_file.open("ab") as file:
        file.write((bytes(40) + b"\n") * count)
    run.log(2, {"loss": 2.0})
    with pytest.raises(RunDirectoryError, match="line 2"):
        list(run.metrics())
    with pytest.warns(DataWarning, match=rf"{text} from .*metrics\.jsonl"):
        run.truncate_metrics(1)
    assert list(run.metrics()) == [{"step": 1, "loss": 1.0}]


def test_default_path_is_free(tmp_path):
    first = default_run_path("toy/simclr", tmp_path)
    assert first.name.startswith("toy-simclr-20")
    paths = set()
    for _ in range(3):
        path = default_run_path("toy/simclr", tmp_path)
        path.mkdir()
        paths.add(path)
    assert len(paths) == 3


def test_a_folder_with_what_a_killed_process_left_is_free(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.01234567.1-01234567.tmp").write_text("{")
    RunDirectory(tmp_path / "run").check_free()
