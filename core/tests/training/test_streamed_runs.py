"""Whole runs on a stream: from the command's options to the encoder, killed and resumed, on one process and on two."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.data.batches.stream import StreamBatches
from selfsup.errors import CheckpointError, ConfigError, DataError, RunError
from selfsup.runtime.progress import make_reporter
from selfsup.training import RunConfig
from selfsup.training.device.devices import Devices
from selfsup.training.run.process import _one_at_a_time
from selfsup.training.run.streaming import is_streamed, prepare, settled

pytestmark = pytest.mark.usefixtures("toy")

ROWS = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards")
    for shard, (begin, end) in enumerate([(0, 9), (9, 40), (40, ROWS)]):
        rows = [{"sequence": [number % 11, number // 11, 1, number % 3], "label": number % 2} for number in range(begin, end)]
        (path / f"part-{shard}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


OPTIONS: dict[str, Any] = {
    "steps": 9,
    "batch_size": 12,
    "seed": 1,
    "stream": True,
    "progress": False,
    "overrides": {"streaming.buffer": 16, "streaming.workers": 0, "log_every": 1},
}


def run_of(folder: str | Path, out: Path, **options: Any) -> selfsup.Run:
    overrides = {**OPTIONS["overrides"], **options.pop("overrides", {})}
    return selfsup.pretrain("sequence/simclr", data=str(folder), out=out, **{**OPTIONS, "overrides": overrides, **options})


def weights(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(next((out / "encoder").glob("*.safetensors")))


@pytest.fixture(scope="module")
def straight(folder: Path, tmp_path_factory: pytest.TempPathFactory, toy: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "straight"
    run_of(folder, out)
    return out


def test_leaves_a_run_like_any_other(straight: Path) -> None:
    info = json.loads((straight / "run.json").read_text())
    assert info["config"]["stream"] is True
    assert info["data"]["rows"] == ROWS  # the sample came to the end of them
    assert "all 48 rows" in info["found"]["facts"]["sample"]
    assert info["read"] == {"rows_read": 108, "bad_rows": 0, "held_out": 0, "first_bad": []}
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "epoch" in line] == [1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert len({line["loss"] for line in lines if "loss" in line}) == 9
    rows = selfsup.load(straight).pretraining_rows
    assert isinstance(rows, PretrainingRows)
    assert rows.different == ROWS


@pytest.mark.slow
def test_stopped_with_processes_that_decode_it_saves_and_ends_as_if_it_had_not_been(
    folder: Path, straight: Path, tmp_path: Path, attempt: Callable[..., Any]
) -> None:
    """Killed in mid-epoch, and by a signal to the whole group while it waits for a batch, which those processes outlive."""

    def told(out: str, stop: dict[str, Any], steps: int, **overrides: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
        given = {**OPTIONS["overrides"], "streaming.workers": 1, **overrides}
        options = {**OPTIONS, "data": str(folder), "out": str(tmp_path / out), "resume": True, "steps": steps}
        return ("sequence/simclr", {**options, "overrides": given}, stop)

    kills = [told("run", stop, 9, checkpoint_every=3) for stop in ({"at": 5, "signal": signal.SIGKILL}, {})]
    numbers = [signal.SIGTERM, signal.SIGUSR1]
    groups = [told(f"{number}", {"group": number}, 500, checkpoint_minutes=1000) for number in numbers]
    codes, errors = attempt([*kills, *groups], alone=True)
    assert codes == [-signal.SIGKILL, 0, *(128 + number for number in numbers)]
    assert "cannot be read" not in errors
    one, other = weights(straight), weights(tmp_path / "run")
    assert all(torch.equal(one[key], other[key]) for key in one)
    losses = [{line["step"]: line.get("loss") for line in RunDirectory(out).metrics()} for out in (straight, tmp_path / "run")]
    assert losses[0] == losses[1]
    for number in numbers:
        run = RunDirectory(tmp_path / f"{number}")
        assert run.status == "stopped"
        assert (run.checkpoints / "last.pt").exists()


def test_saves_where_no_batch_comes_after_it_was_asked_to_stop(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = StreamBatches.batches

    def broken(self: StreamBatches) -> Iterator[Any]:
        for _, batch in zip(range(2), batches(self), strict=False):
            yield batch
        os.kill(os.getpid(), signal.SIGTERM)
        raise RunError("the file system is gone")

    with monkeypatch.context() as patch:
        patch.setattr(StreamBatches, "batches", broken)
        with pytest.raises(SystemExit) as ended:
            run_of(folder, tmp_path / "run")
    assert ended.value.code == 128 + signal.SIGTERM
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    assert run_of(folder, tmp_path / "run", resume=True).metrics[-1]["step"] == 9


SOURCE_ENDS = """
import os, signal
from selfsup.data.sources.streams.row_stream import RowStream
from selfsup.training.loop.stepper import Stepper

read, take = RowStream.read, Stepper.take
rank, last, stops = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]) - 1, os.environ["STOPS"]

def broken(self, *place):
    begun.append(place)
    for number, row in enumerate(read(self, *place)):
        if rank == last and number > 3 and len(begun) > len(self.shards):
            raise OSError("the file system is gone")
        yield row

def taken(self, batch):
    take(self, batch)
    if self.step == 2 and rank == 0 and stops:
        os.kill(os.getpid(), signal.SIGTERM)

begun = []
RowStream.read, Stepper.take = broken, taken
"""
"""Runs where a worker starts: in the second epoch, its last process cannot read; before that, the first is asked to stop."""


def _options(devices: int) -> dict[str, Any]:
    # A request to stop is heard at the next line of metrics, which here comes after the source has ended.
    overrides = {"log_every": 100, "probe_every": 100}
    return {"devices": devices, "accelerator": "cpu", "precision": "32", "batch_size": 8, "steps": 14, "overrides": overrides}


def _stopped_and_without_source(folder: Path, out: Path, devices: int) -> RunDirectory:
    with pytest.raises(SystemExit) as ended:
        run_of(folder, out, **_options(devices))
    assert ended.value.code == 128 + signal.SIGTERM
    run = RunDirectory(out)
    assert run.status == "stopped"
    assert 6 <= torch.load(run.checkpoints / "last.pt", weights_only=True)["state"]["stepper"]["step"] < 14
    return run


@pytest.mark.slow
def test_a_run_that_was_asked_to_stop_saves_where_one_of_its_sources_ends(
    folder: Path, tmp_path: Path, forked_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AT_START", SOURCE_ENDS)
    monkeypatch.setenv("STOPS", "yes")
    _stopped_and_without_source(folder, tmp_path / "run", 2)


@pytest.mark.long
@pytest.mark.parametrize("devices", [2, 4])
def test_an_error_of_one_source_reaches_all_processes_and_a_stop_still_saves(
    devices: int, folder: Path, tmp_path: Path, forked_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(devices)
    monkeypatch.setenv("AT_START", SOURCE_ENDS)
    monkeypatch.setenv("STOPS", "")
    told = f"process {devices - 1} of {devices} cannot read its next batch: OSError: the file system is gone"
    with pytest.raises(DataError, match=told):
        run_of(folder, tmp_path / "failed", **options)
    monkeypatch.setenv("STOPS", "yes")
    run = _stopped_and_without_source(folder, tmp_path / "run", devices)
    monkeypatch.delenv("AT_START")
    run_of(folder, run.path, resume=True, **options)
    run_of(folder, tmp_path / "straight", **options)
    one, other = weights(run.path), weights(tmp_path / "straight")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_says_what_a_stream_cannot_do(folder: Path, tmp_path: Path) -> None:
    few = {"streaming.sample_rows": 20}
    with pytest.raises(ConfigError, match=r"--steps N"):
        run_of(folder, tmp_path / "a", steps=None, epochs=2, overrides=few)
    with pytest.raises(ConfigError, match=r"warmup_fraction=0\.05"):
        run_of(folder, tmp_path / "b", overrides={**few, "optimization.warmup_epochs": 1})
    with pytest.raises(ConfigError, match="draws from all rows"):
        run_of(folder, tmp_path / "c", rows=10)
    with pytest.raises(ConfigError, match="needs the labels of all rows"):
        selfsup.pretrain("sequence/supervised", data=str(folder), out=tmp_path / "d", **OPTIONS)
    with pytest.raises(ConfigError, match=r"can only be streamed.*Copy it to this machine"):
        run_of(f"file://{folder}", tmp_path / "e", stream=False)
    with pytest.raises(ConfigError, match=r"pattern of files.*Name their folder"):
        run_of(folder / "part-*.jsonl", tmp_path / "e", stream=False)
    with pytest.raises(DataError, match="batch_size=60"):
        run_of(folder, tmp_path / "f", batch_size=60, overrides={**few, "optimization.warmup_fraction": 0.1})


def test_a_small_share_is_held_out_though_the_sample_has_none_of_it(folder: Path, tmp_path: Path) -> None:
    run_of(folder, tmp_path / "run", steps=1, holdout=1e-6, overrides={"streaming.rows": ROWS})
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["data"]["held_out"] is None  # they are found on the way
    with pytest.raises(DataError, match="holds out all 2 rows of the sample"):
        run_of(folder, tmp_path / "other", holdout=0.999999, overrides={"streaming.sample_rows": 2})


def test_a_run_keeps_how_rows_were_split(folder: Path, tmp_path: Path) -> None:
    """So that one of a remote source may go on on other devices, for which it would choose another way."""
    run_of(f"file://{folder}", tmp_path / "run", steps=2)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["streaming"]["split"] == "rows"
    again = {"streaming.split": "auto"}  # as in the command that began it
    assert run_of(f"file://{folder}", tmp_path / "run", steps=3, resume=True, overrides=again).metrics[-1]["step"] == 3
    for devices, split in ((2, "rows"), (3, "shards"), (4, "rows")):  # three shards
        config = RunConfig(task="sequence/simclr", data=f"file://{folder}", stream=True, devices=devices)
        with make_reporter(False) as reporter:
            assert settled(config, prepare(config, reporter)).streaming.split == split


def test_a_run_that_cannot_go_on_stays_as_it_was(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    run_of(folder, out, steps=2)
    before = json.loads((out / "run.json").read_text())
    load = StreamBatches.load_state_dict

    def refuse(self: StreamBatches, states: Any) -> None:
        load(self, states)
        raise CheckpointError("it cannot")

    with monkeypatch.context() as patch:
        patch.setattr(StreamBatches, "load_state_dict", refuse)
        with pytest.raises(CheckpointError, match="it cannot"):
            run_of(folder, out, steps=3, resume=True)
    assert json.loads((out / "run.json").read_text()) == before


def test_streams_are_prepared_side_by_side_and_not_looked_at_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(task="sequence/simclr", data=str(folder), stream=True, devices=2)
    assert isinstance(_one_at_a_time(config, Devices("cpu", "32", 2, 1, "ddp")), nullcontext)
    monkeypatch.setattr("selfsup.training.run.streaming.look_at", None)
    assert is_streamed(config) == (True, "")


def test_epochs_where_the_number_of_rows_is_told(folder: Path, tmp_path: Path) -> None:
    told = {"streaming.sample_rows": 20, "streaming.rows": ROWS}
    run = run_of(folder, tmp_path / "run", steps=None, epochs=2, overrides=told)
    assert run.metrics[-1]["step"] == 8


def test_large_sources_and_patterns_are_streamed_by_themselves(folder: Path, tmp_path: Path) -> None:
    options = {"steps": 1, "stream": None}
    assert not run_of(folder, tmp_path / "a", **options).config.stream
    assert run_of(folder, tmp_path / "b", **options, overrides={"streaming.above_gb": 1e-9}).config.stream
    assert run_of(folder / "part-{0..2}.jsonl", tmp_path / "c", **options).config.stream
    # What needs all rows is prepared, however large its source is.
    assert not run_of(folder, tmp_path / "d", **options, rows=20, overrides={"streaming.above_gb": 1e-9}).config.stream
