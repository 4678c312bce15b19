"""Runs that go on with a larger budget, or on another number of devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.data import Loader
from selfsup.data.batches.source import StoreBatches
from selfsup.errors import CheckpointError, ConfigError, RunDirectoryError
from selfsup.training.loop import schedule
from selfsup.training.observe import online_probe

pytestmark = pytest.mark.usefixtures("toy")

CONSTANT = {"schedule": "constant", "warmup_fraction": 0.0}


def pretrain(out: Path, **options: Any) -> selfsup.Run:
    heads = {"objective.hidden_dim": 16, "objective.output_dim": 8}
    options = {
        "task": "sequence/vicreg", "data": "toy-sequences", "batch_size": 64, "precision": "32", "progress": False, "lr": 0.01,
        "backbone": "sequence/conv", "log_every": 2, "probe_every": 4, **options,
    }  # fmt: skip
    return selfsup.pretrain(out=out, overrides={**heads, **options.pop("overrides", {})}, **options)


def lines(run: selfsup.Run) -> list[dict[str, Any]]:
    timed = ("samples_per_second", "data_wait")
    return [{key: value for key, value in line.items() if key not in timed} for line in run.metrics]


def test_an_extended_run_is_bit_by_bit_one_with_the_larger_budget_where_the_rate_is_constant(tmp_path: Path) -> None:
    straight = pretrain(tmp_path / "straight", steps=12, overrides=CONSTANT)
    first = pretrain(tmp_path / "run", steps=8, overrides=CONSTANT)
    before = first.encoder.digest()
    run = pretrain(first.dir, steps=12, overrides=CONSTANT, resume=True)
    weights = Path("encoder") / "model.safetensors"
    assert (run.dir / weights).read_bytes() == (straight.dir / weights).read_bytes()
    assert lines(run) == lines(straight)
    assert run.encoder.metadata["steps"] == run.encoder.metadata["of_steps"] == 12
    assert run.encoder.digest() != before
    info = RunDirectory(run.dir).info()
    assert (info["status"], info["config"]["optimization"]["steps"], info["bit_identical"]) == ("done", 12, True)
    assert [(entry["from_step"], entry["total_steps"], entry["steps"]) for entry in info["history"]] == [(0, 8, 8), (8, 12, 12)]
    again = RunDirectory(pretrain(run.dir, steps=12, overrides=CONSTANT, resume=True).dir).info()
    assert again == info  # it is finished


def test_an_extended_run_follows_the_schedule_of_the_new_budget_from_its_last_step_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pretrain(tmp_path / "run", steps=8, overrides={"schedule": "cosine", "warmup_fraction": 0.25})
    steps_per_epoch = RunDirectory(first.dir).info()["data"]["rows"] // 64
    selfsup.pretrain(out=first.dir, resume=True, epochs=4, progress=True)
    total = 4 * steps_per_epoch
    told = " ".join(capsys.readouterr().err.split())
    assert f"The run goes on from step 8 of {total}. Its budget was 8 steps" in told
    run = RunDirectory(first.dir)
    steps = [line["step"] for line in run.metrics()]
    assert steps == sorted({0, 1, *range(2, total + 1, 2), total})
    for line in run.metrics():
        if line["step"]:
            of = 8 if line["step"] <= 8 else total
            rate = schedule.learning_rate(line["step"] - 1, of, peak=0.01, warmup=of // 4)
            assert line["lr"] == pytest.approx(rate), line["step"]
    assert [entry["epochs"] for entry in run.info()["history"]] == [None, 4]


def test_what_cannot_go_on_is_refused_and_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", steps=6)
    held = RunDirectory(run.dir).info()
    with pytest.raises(ConfigError, match=r"the budget is 4 steps, and the run .* has taken 6 already"):
        selfsup.pretrain(out=run.dir, resume=True, steps=4)
    with pytest.raises(ConfigError, match=r"not started with seed = 5 \(but 0\); log_every = 3 \(but 2\)"):
        selfsup.pretrain(out=run.dir, resume=True, steps=8, seed=5, log_every=3)
    (run.dir / "checkpoints" / "last.pt").unlink()
    with pytest.raises(CheckpointError, match=r"finished and its checkpoint .* is gone.*--init"):
        selfsup.pretrain(out=run.dir, resume=True, steps=8)
    assert RunDirectory(run.dir).info() == held


def test_a_batch_size_that_no_longer_fits_the_data_is_told_as_damage(tmp_path: Path) -> None:
    run = RunDirectory(pretrain(tmp_path / "run", steps=6).dir)
    held = run.info()
    held["config"]["optimization"]["batch_size"] = 100_000
    (run.path / "run.json").write_text(json.dumps(held))
    with pytest.raises(RunDirectoryError, match=r"run cannot be resumed: batch_size=100000 is larger .* The data have changed"):
        selfsup.pretrain(out=run.path, resume=True, steps=8)


@pytest.mark.parametrize("fault", ["weights", "stream"])
def test_a_checkpoint_that_is_refused_leaves_the_run_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    run = RunDirectory(pretrain(tmp_path / "run", steps=4, overrides=CONSTANT).dir)
    held, path = run.info(), run.checkpoints / "last.pt"
    whole = path.read_bytes()
    if fault == "weights":
        content = torch.load(path, weights_only=True)
        content["state"]["stepper"]["task"].popitem()
        torch.save(content, path)
    with monkeypatch.context() as patch:
        if fault == "stream":

            def refuse(*_: Any) -> None:
                raise CheckpointError("the state of the stream cannot be divided")

            patch.setattr(StoreBatches, "load_state_dict", refuse)
        with pytest.raises((CheckpointError, RuntimeError)):
            selfsup.pretrain(out=run.path, resume=True, steps=6)
    assert run.info() == held
    assert "The run goes on" not in capsys.readouterr().err
    path.write_bytes(whole)
    assert selfsup.pretrain(out=run.path, resume=True, progress=False).encoder.metadata["steps"] == 4
    selfsup.pretrain(out=run.path, resume=True, steps=6, progress=False)
    assert [entry["total_steps"] for entry in run.info()["history"]] == [4, 6]


def test_the_best_checkpoint_is_that_of_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.2, 0.9, 0.6, 0.7, 0.95])
    monkeypatch.setattr(online_probe.OnlineProbe, "score", lambda *_: next(scores))
    run = pretrain(tmp_path / "run", steps=8, val="toy-sequences:test")
    pretrain(run.dir, steps=12, val="toy-sequences:test", resume=True)
    assert selfsup.load(run.dir, checkpoint="best").metadata["checkpoint_step"] == 4
    pretrain(run.dir, steps=16, val="toy-sequences:test", resume=True)
    best = selfsup.load(run.dir, checkpoint="best").metadata
    assert (best["checkpoint_step"], best["probe_accuracy"]) == (16, 0.95)


def test_an_unstarted_budget_is_replaced(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", steps=0)
    pretrain(run.dir, steps=4, resume=True)
    info = RunDirectory(run.dir).info()
    assert (info["config"]["optimization"]["steps"], "history" in info) == (4, False)
    assert selfsup.load(run.dir).metadata["steps"] == 4


def test_a_checkpoint_of_format_1_goes_on(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", steps=8, overrides=CONSTANT)
    path = run.dir / "checkpoints" / "last.pt"
    content = torch.load(path, weights_only=True)
    del content["state"]["source"]
    torch.save({**content, "format": 1}, path)
    older = pretrain(run.dir, steps=12, overrides=CONSTANT, resume=True)
    newer = pretrain(tmp_path / "newer", steps=12, overrides=CONSTANT)
    assert older.encoder.backbone.state_dict().keys() == newer.encoder.backbone.state_dict().keys()
    for key, value in older.encoder.backbone.state_dict().items():
        assert torch.equal(value, newer.encoder.backbone.state_dict()[key])


def test_another_model_of_device_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory(pretrain(tmp_path / "run", steps=4).dir)
    here = run.info()["device"]
    run.update(status="stopped", device="cuda (a GPU)")
    path = run.checkpoints / "last.pt"
    content = torch.load(path, weights_only=True)
    state = torch.zeros(16, dtype=torch.uint8)
    content["state"]["random"] = [{**content["state"]["random"][0], "generator": state, "cuda": state}]
    torch.save(content, path)
    selfsup.pretrain(out=run.path, resume=True, steps=6)
    assert f"device={here} (before: cuda (a GPU))" in " ".join(capsys.readouterr().err.split())
    info = run.info()
    assert [entry["device"] for entry in info["history"]] == ["cuda (a GPU)", here]
    assert (info["bit_identical"], info["device"], info["status"]) == (False, here, "done")


NOTE_ROWS = """
import json, os
from selfsup.data import Loader
from selfsup.data.batches.source import StoreBatches

make = Loader._make

def noted(self, draw, indices):
    with open(os.environ["NOTED_ROWS"], "a") as file:
        print(json.dumps([self.sampler.rank, indices.tolist()]), file=file)
    return make(self, draw, indices)

Loader._make = noted
"""
# Also run where a worker starts.


def _batches(path: Path, processes: int, steps: int) -> list[set[int]]:
    """The rows of each global batch; loaders read a little further than a run takes."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    shares = [[rows for rank, rows in found if rank == wanted][:steps] for wanted in range(processes)]
    assert all(len(share) == steps for share in shares)
    return [set().union(*batch) for batch in zip(*shares, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stretches", "strategy"),
    [
        (((2, 32), (1, 48)), "ddp"),
        pytest.param(((2, 24), (4, 32), (1, 48)), "ddp", marks=pytest.mark.long),
        pytest.param(((2, 24), (4, 32), (1, 48)), "fsdp", marks=pytest.mark.long),
    ],
    ids=["1-2-1", "1-2-4-1-ddp", "1-2-4-1-fsdp"],
)
def test_a_run_that_goes_on_with_more_processes_and_then_one_takes_the_same_batches(
    stretches: tuple[tuple[int, int], ...],
    strategy: str,
    tmp_path: Path,
    forked_workers: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = tmp_path / "rows.jsonl"
    monkeypatch.setenv("NOTED_ROWS", str(noted))
    monkeypatch.setenv("AT_START", NOTE_ROWS)
    monkeypatch.setattr(Loader, "_make", Loader._make)  # goes back to it at the end
    exec(NOTE_ROWS, {})
    options: dict[str, Any] = {"task": "sequence/simclr", "accelerator": "cpu", "probe_every": 16, "overrides": CONSTANT}
    straight = pretrain(tmp_path / "straight", steps=48, **options)
    expected = _batches(noted, 1, 48)
    run = pretrain(tmp_path / "run", steps=16, **options)
    found = _batches(noted, 1, 16)
    done = 16
    for devices, steps in stretches:
        way = strategy if devices > 1 else "auto"
        selfsup.pretrain(out=run.dir, resume=True, steps=steps, devices=devices, strategy=way, progress=False)
        found += _batches(noted, devices, steps - done)
        done = steps
    assert found == expected
    assert all(len(batch) == 64 for batch in found)
    info = RunDirectory(run.dir).info()
    assert info["bit_identical"] is False
    began = [0, 16, *(steps for _, steps in stretches[:-1])]
    used = [1, *(devices for devices, _ in stretches)]
    assert [(entry["from_step"], entry["devices"]) for entry in info["history"]] == list(zip(began, used, strict=True))
    assert [line["step"] for line in run.metrics] == [line["step"] for line in straight.metrics]
    losses = [np.array([line["loss"] for line in each.metrics if line["step"] > 1]) for each in (straight, run)]
    np.testing.assert_array_equal(losses[1][:8], losses[0][:8])
    thirds = [loss.reshape(3, 8).mean(axis=1) for loss in losses]
    assert thirds[0][2] < 0.85 * thirds[0][0]
    np.testing.assert_allclose(thirds[1], thirds[0], rtol=0.07)
