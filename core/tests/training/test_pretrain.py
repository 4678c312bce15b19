from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.errors import (
    CheckpointError,
    ColumnError,
    ConfigError,
    DataError,
    NonFiniteLossError,
    RunDirectoryError,
    SourceError,
    StorageError,
    UnknownIdError,
)
from selfsup.registry import get_plugin_manager, hookimpl
from selfsup.tasks import StepOutput
from selfsup.testing.toy.sequences.rows import id_rows
from selfsup.training.loop import checkpoint
from selfsup.training.loop.stepper import Stepper
from selfsup.training.observe import online_probe
from selfsup.training.run.config import OptimizationConfig

pytestmark = pytest.mark.usefixtures("toy")

SMALL: dict[str, Any] = {
    "data": "toy-sequences",
    "batch_size": 64,
    "precision": "32",
    "progress": False,
    "backbone": "sequence/conv",
}


HEADS = {"objective.hidden_dim": 16, "objective.output_dim": 8}


def pretrain(out: Path, **options: Any) -> selfsup.Run:
    """A run of seconds: the papers' heads are thousands wide."""
    options = {"task": "sequence/vicreg", "steps": 6, **SMALL, "out": out, **options}
    if options["task"] in ("sequence/vicreg", "sequence/simclr"):
        options["overrides"] = {**HEADS, **options.get("overrides", {})}
    return selfsup.pretrain(options.pop("task"), **options)


def weights(run: selfsup.Run) -> dict[str, Tensor]:
    return run.encoder.backbone.state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("betas", [(0.9, 1.0), (-0.1, 0.9), (2.0, 3.0)])
def test_decay_rates_that_no_optimizer_takes_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="decay rates are at least 0 and less than 1"):
        OptimizationConfig(betas=betas)


def test_a_run_leaves_all_that_the_design_says(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run = pretrain(tmp_path / "run", val="toy-sequences:test", epochs=3, steps=None, log_every=2)
    assert torch.equal(torch.get_rng_state(), before)
    info = RunDirectory(run.dir).info()
    assert info["status"] == "done"
    assert info["config"]["optimization"]["epochs"] == 3
    assert info["config"]["backbone_options"]["dim"] == 32
    assert info["config"]["task_options"]["objective"]
    assert (info["seed"], info["processes"], info["data"]["rows"]) == (0, 1, 256)
    assert [line["step"] for line in run.metrics] == [0, 1, 2, 4, 6, 8, 10, 12]
    # A look is at all 256 rows, which are as many as four steps train on.
    assert [line["step"] for line in run.metrics if "embedding_std" in line] == [0, 4, 8, 12]
    last = run.metrics[-1]
    assert {"loss", "lr", "samples_per_second", "epoch", "embedding_std", "effective_rank", "probe_accuracy"} <= last.keys()
    assert last["epoch"] == 3
    assert 0.2 <= last["probe_accuracy"] <= 1
    assert {path.name for path in (run.dir / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
    assert info["val"]["name"] == "toy-sequences"
    assert run.encoder.task == "sequence/vicreg"
    assert run.encoder.metadata["steps"] == 12
    content = torch.load(run.dir / "checkpoints" / "last.pt", weights_only=True)
    assert content["identity"]["task"] == "sequence/vicreg"


def test_the_probe_changes_nothing(tmp_path: Path) -> None:
    with_probe = pretrain(tmp_path / "a", val="toy-sequences:test", probe_every=2)
    without = pretrain(tmp_path / "b", probe_every=100)
    assert same(weights(with_probe), weights(without))


def test_a_run_is_the_same_for_the_same_seed_and_its_config_repeats_it(tmp_path: Path) -> None:
    first = pretrain(tmp_path / "a", seed=3)
    again = selfsup.pretrain(config=first.dir / "run.json", out=tmp_path / "b", progress=False)
    other = pretrain(tmp_path / "c", seed=4)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))
    assert again.config == first.config


def test_options_reach_what_they_name(tmp_path: Path) -> None:
    overrides = {"objective.variance_weight": 3.0, "backbone.dim": 16, "optimization.betas": [0.8, 0.9], "optimizer": "adam"}
    run = pretrain(tmp_path / "run", steps=1, rows=70, overrides=overrides)
    assert RunDirectory(run.dir).info()["data"]["rows"] == 70
    assert run.encoder.embed_dim == 16
    assert run.config.task_options["objective"]["variance_weight"] == 3.0
    assert (run.config.optimization.optimizer, run.config.optimization.betas) == ("adam", (0.8, 0.9))


@pytest.mark.parametrize("budget", [{"steps": 5}, {"max_steps": 3, "epochs": 2}])
def test_random_init_takes_no_step_and_saves_the_fresh_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: dict[str, Any]
) -> None:
    budget = {"steps": None, "batch_size": 100_000, "val": "toy-sequences:test", "progress": True, **budget}
    run = pretrain(tmp_path / "run", task="sequence/random-init", **budget)
    assert run.metrics == []
    told = " ".join(capsys.readouterr().err.split())
    assert "The untrained encoder is saved at once: sequence/random-init trains nothing." in told
    assert "val=toy-sequences:test" in told.partition("Without effect: ")[2]
    assert all(f"{name}={budget[name]}" in told for name in ("steps", "epochs", "max_steps") if budget.get(name))
    assert run.encoder.metadata["of_steps"] == 0
    assert all(torch.equal(value, torch.zeros_like(value)) for name, value in weights(run).items() if "running_mean" in name)
    assert run.encoder.metadata["steps"] == 0
    assert not same(weights(run), weights(pretrain(tmp_path / "other", task="sequence/random-init", steps=None, seed=1)))


def test_the_supervised_reference_gets_labels(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", task="sequence/supervised", steps=80, lr=0.01, val="toy-sequences:test", probe_every=80)
    assert run.metrics[-1]["accuracy"] > 0.8
    assert run.metrics[-1]["probe_accuracy"] > run.metrics[0]["probe_accuracy"]


def test_the_moving_average_is_what_is_saved(tmp_path: Path) -> None:
    plain = pretrain(tmp_path / "a")
    averaged = pretrain(tmp_path / "b", overrides={"ema": 0.9})
    assert not same(weights(plain), weights(averaged))
    kept = torch.load(averaged.dir / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]["average"]
    assert same(weights(averaged), kept)


@pytest.mark.parametrize(("precision", "dtype"), [("32", None), ("bf16", torch.bfloat16)])
def test_precision_is_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype | None
) -> None:
    seen = set()

    def spy(self: Any, batch: Any, generator: Any) -> StepOutput:
        seen.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return StepOutput(self.backbone(batch).pooled.float().square().mean(), {})

    monkeypatch.setattr("selfsup.tasks.joint_embedding.task.JointEmbedding.forward", spy)
    run = pretrain(tmp_path / "run", steps=2, precision=precision)
    assert seen == {dtype}
    assert next(run.encoder.backbone.parameters()).dtype == torch.float32


def test_compile_is_honoured_and_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[str, str]] = []
    compile_module = torch.nn.Module.compile

    def spy(self: torch.nn.Module, *args: Any, **options: Any) -> None:
        compiled.append((type(self).__name__, options["backend"]))
        compile_module(self, *args, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", spy)
    plain = pretrain(tmp_path / "a", steps=2)
    assert compiled == []
    fast = pretrain(tmp_path / "b", steps=2, overrides={"compile": "eager"})
    assert compiled == [("SequenceConv", "eager")]
    for key, value in weights(plain).items():
        torch.testing.assert_close(weights(fast)[key], value)
    with pytest.raises(ConfigError, match="'fast' is no backend"):
        pretrain(tmp_path / "c", steps=2, overrides={"compile": "fast"})


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks at it itself
def test_blocks_of_backbone_and_decoder_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped: list[str] = []
    compile_function = torch.compile

    def spy(function: Any = None, *, backend: str, dynamic: bool) -> Any:
        if function is None:
            return lambda function: spy(function, backend=backend, dynamic=dynamic)
        wrapped.append(f"{backend} {type(function.__self__).__name__}")
        return compile_function(function, backend=backend, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", spy)
    options: dict[str, Any] = {"task": "sequence/mae", "steps": 1, "backbone": "sequence/transformer"}
    fast = pretrain(tmp_path / "a", overrides={"compile": "eager"}, **options)
    assert set(wrapped) == {"eager Block"}
    assert len(wrapped) > 4
    plain = pretrain(tmp_path / "b", **options)
    for key, value in weights(plain).items():
        torch.testing.assert_close(weights(fast)[key], value)


class Observer:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    @hookimpl
    def selfsup_run_started(self, run_dir: Path, config: dict[str, Any]) -> None:
        self.seen.append(("started", run_dir.name, config["task"]))

    @hookimpl
    def selfsup_step_logged(self, run_dir: Path, step: int, metrics: dict[str, float]) -> None:
        self.seen.append(("logged", step, "loss" in metrics))

    @hookimpl
    def selfsup_checkpoint_saved(self, run_dir: Path, path: Path, step: int) -> None:
        self.seen.append(("saved", path.name, path.exists(), step))

    @hookimpl
    def selfsup_run_ended(self, run_dir: Path, status: str) -> None:
        self.seen.append(("ended", status))
        raise RuntimeError("observers may be broken")


def test_observers_and_loggers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    observer = Observer()
    manager = get_plugin_manager().hook.selfsup_run_started._hookexec.__self__
    manager.register(observer)
    try:
        run = pretrain(
            tmp_path / "run", steps=4, log_every=2, probe_every=4, checkpoint_every=3, loggers=["tensorboard"], progress=True
        )
    finally:
        manager.unregister(observer)
    assert observer.seen == [
        ("started", "run", "sequence/vicreg"),
        ("logged", 0, False),
        ("logged", 1, True),
        ("logged", 2, True),
        ("saved", "last.pt", True, 3),
        ("logged", 4, True),
        ("saved", "last.pt", True, 4),
        ("ended", "done"),
    ]
    assert list((run.dir / "tensorboard").glob("events*"))
    assert "an observer of selfsup_run_ended failed: RuntimeError: observers may be broken" in capsys.readouterr().err


def test_a_nan_loss_stops_names_its_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Stepper.take

    def poisoned(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step == 5:
            self._losses[-1] = self._losses[-1] * math.nan

    monkeypatch.setattr(Stepper, "take", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"became nan at step 5 of 8.*The last good checkpoint is kept: .*last\.pt"):
        pretrain(tmp_path / "run", steps=8, checkpoint_every=2, log_every=3, probe_every=8)
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]
    assert state["step"] == 4
    assert all(bool(torch.isfinite(value).all()) for value in state["task"].values())
    info = RunDirectory(tmp_path / "run").info()
    assert info["status"] == "failed"
    assert "step 5" in info["error"]
    assert not (tmp_path / "run" / "encoder").exists()


def test_a_full_disk_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = torch.save, []

    def full(content: Any, file: Any) -> None:
        if len(saved) == 1:
            file.error = OSError(28, "No space left on device")
            raise RuntimeError("PytorchStreamWriter failed writing file")
        saved.append(content["state"]["stepper"]["step"])
        save(content, file)

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(StorageError, match=r"Cannot write .*last\.pt: the disk is full"):
        pretrain(tmp_path / "run", steps=6, checkpoint_every=2)
    monkeypatch.undo()
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]
    assert state["step"] == 2
    run = pretrain(tmp_path / "run", steps=6, checkpoint_every=2, resume=True)  # once there is room again
    assert same(weights(run), weights(pretrain(tmp_path / "straight", checkpoint_every=2)))


@pytest.mark.parametrize(("overrides", "warned"), [({}, False), ({"teacher.start": 0.9}, True)])
def test_a_run_that_keeps_mostly_its_random_start_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: dict[str, Any], warned: bool
) -> None:
    selfsup.pretrain(
        "sequence/ijepa", "toy-sequences", out=tmp_path / "run", steps=3, batch_size=16, precision="32", probe_every=9,
        overrides={"task.predictor_depth": 1, **overrides},
    )  # fmt: skip
    shown = capsys.readouterr().err
    assert ("random start" in shown) is warned
    assert ("after 3 steps 90 % of the network that is kept will still be its random start" in shown) is warned


def test_a_finished_run_that_is_resumed_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = pretrain(tmp_path / "run")
    written = (run.dir / "run.json").stat().st_mtime_ns
    again = selfsup.pretrain(out=run.dir, resume=True)
    assert again.config == run.config
    assert f"The run in {run.dir} is finished already" in " ".join(capsys.readouterr().err.split())
    assert (run.dir / "run.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("spreads", "enough", "warned"),
    [
        ([1.0, 0.9, 0.001, 0.001, 0.001, 0.001], 100, 1),  # it falls
        ([0.01, 0.01, 0.001, 0.001, 0.001, 0.001], 100, 1),
        ([0.001] * 6, 100, 0),  # it begins like that, as transformers on texts do, and the run is short
        ([0.001] * 6, 3, 1),  # it has had the time to grow
        ([0.001, 0.002, 0.004, 0.016, 0.03, 1.0], 100, 0),  # it grows
    ],
)
def test_a_collapsed_embedding_is_reported_once_and_not_while_a_run_begins(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spreads: list[float],
    enough: int,
    warned: int,
) -> None:
    noise, left = torch.randn(64, 8), iter(spreads)
    monkeypatch.setattr(online_probe, "MONITORED_ROWS", 64)
    monkeypatch.setattr("selfsup.training.observe.periodic_checks._FIRST_STEPS", enough)
    spread = lambda *_: {"": torch.ones(64, 8) + next(left) * noise}  # noqa: E731
    monkeypatch.setattr("selfsup.training.observe.periodic_checks.embed", spread)
    pretrain(tmp_path / "run", steps=5, probe_every=1, progress=True)
    assert capsys.readouterr().err.count("the embedding has collapsed") == warned


def test_chunks_that_batch_norm_sees_apart_are_told_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrain(tmp_path / "run", task="sequence/simclr", steps=3, progress=True, overrides={"accumulate": 2})
    shown = capsys.readouterr().err
    assert shown.count("accumulate=2: batch norm takes its statistics over each chunk of 32 samples") == 1
    assert "changes what" not in shown


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "sequence/simclrr"}, UnknownIdError, "Did you mean 'sequence/simclr'"),
        ({"backbone": "sequence/transfomer"}, UnknownIdError, "Did you mean 'sequence/transformer'"),
        ({"task": "sequence/mae"}, ConfigError, "'sequence/conv' has none. Take sequence/transformer"),
        ({"overrides": {"objective.temperture": 1}}, ConfigError, r"unknown config key 'objective.temperture'"),
        ({"overrides": {"optimization.lrr": 1}}, ConfigError, r"Did you mean optimization.lr"),
        ({"lr": -1.0}, ConfigError, r"optimization.lr = -1.0 is not allowed"),
        ({"batch_size": 300}, ConfigError, "batch_size=300 is larger than the data, which has 256 usable rows"),
        ({"overrides": {"accumulate": 7}}, ConfigError, "be divided over 1 device.s. with accumulate=7.*--batch-size 63"),
        ({"data": "nowhere"}, SourceError, "'nowhere' is no file"),
        ({"label": "klass"}, ColumnError, "'klass'"),
        ({"loggers": ["nolog"]}, UnknownIdError, "unknown logger 'nolog'"),
        ({"precision": "16"}, ConfigError, "precision 16 needs a CUDA GPU"),
        ({"accelerator": "gpu"}, ConfigError, "no GPU that torch can use"),
        ({"nodes": 2}, ConfigError, "nodes=2 needs a launcher"),
    ],
)
def test_bad_input_is_answered_and_leaves_no_folder(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    if options.get("accelerator") == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=message):
        pretrain(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_one_row_one_class_and_no_task_are_answered(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in id_rows(1, 0)))
    with pytest.raises(DataError, match="has 1 usable row, and pretraining needs at least two"):
        pretrain(tmp_path / "run", data=str(rows), label="label")
    rows.write_text("".join(json.dumps({**row, "label": 0}) + "\n" for row in id_rows(80, 0)))
    with pytest.raises(DataError, match="are equal, and sequence/supervised needs at least two"):
        pretrain(tmp_path / "run", task="sequence/supervised", data=str(rows), label="label")
    with pytest.raises(ConfigError, match="no task was given"):
        selfsup.pretrain(data="toy-sequences")
    with pytest.raises(ConfigError, match="no data was given"):
        selfsup.pretrain("sequence/vicreg")
    with pytest.raises(ConfigError, match="give --out DIR beside --resume"):
        selfsup.pretrain(resume=True)


def test_a_folder_of_something_else_and_of_another_run_are_refused(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", steps=1)
    with pytest.raises(RunDirectoryError, match=r"holds a run of sequence/vicreg \(status done\).*--resume"):
        pretrain(run.dir)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(RunDirectoryError, match=r"cat\.jpg"):
        pretrain(tmp_path / "photos")
    with pytest.raises(RunDirectoryError, match="holds no run to resume"):
        selfsup.pretrain(out=tmp_path / "empty", resume=True)


def test_resuming_refuses_another_task_other_options_and_other_data(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", checkpoint_every=2)
    RunDirectory(run.dir).update(status="stopped")
    with pytest.raises(CheckpointError, match="holds a run of sequence/vicreg, whose checkpoints sequence/simclr cannot use"):
        pretrain(run.dir, task="sequence/simclr", resume=True)
    with pytest.raises(ConfigError, match=r"it was not started with seed = 5 \(but 0\)"):
        pretrain(run.dir, checkpoint_every=2, seed=5, resume=True)
    other = pretrain(tmp_path / "other", task="sequence/simclr")
    (run.dir / "checkpoints" / "last.pt").write_bytes((other.dir / "checkpoints" / "last.pt").read_bytes())
    with pytest.raises(CheckpointError, match="its task is 'sequence/simclr', this run's is 'sequence/vicreg'"):
        pretrain(run.dir, checkpoint_every=2, resume=True)


def test_a_config_file_that_is_none_is_answered(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.json cannot be read"):
        selfsup.pretrain(config=tmp_path / "broken.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigError, match="holds no options"):
        selfsup.pretrain(config=tmp_path / "list.json")
    (tmp_path / "wrong.json").write_text('{"task": "sequence/vicreg", "data": "toy-sequences", "optimization": {"lrr": 1}}')
    with pytest.raises(ConfigError, match=r"there is no option 'optimization.lrr'; did you mean 'lr'"):
        selfsup.pretrain(config=tmp_path / "wrong.json")


def test_a_loop_of_ours_may_be_given_rows(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = Dataset.from_list(id_rows(64, 0))
    run = pretrain(tmp_path / "run", steps=1, data=rows)
    assert run.config.data == "<Dataset>"
    with pytest.raises(ConfigError, match="several devices read the data for themselves"):
        pretrain(tmp_path / "two", steps=1, data=rows, devices=2)


def test_a_queue_that_is_longer_than_the_data_is_shortened_once_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"task": "sequence/mocov2", "overrides": {**HEADS, "queue_size": 5000}, "progress": True, "steps": 4}
    straight = pretrain(tmp_path / "straight", **options)
    said = [line for line in capsys.readouterr().err.splitlines() if "queue_size=5000" in line]
    rows = RunDirectory(straight.dir).info()["data"]["rows"]
    assert len(said) == 1
    assert f"the queue holds {rows - 64}" in said[0]
    state = torch.load(straight.dir / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]["task"]
    assert state["objective.queue.embeddings"].shape == (rows - 64, 8)
    assert float(state["objective.queue.filled"].sum()) == rows - 64
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "take", _stop_after(2))
        with pytest.raises(KeyboardInterrupt):
            pretrain(tmp_path / "run", **options, checkpoint_every=1)
    resumed = selfsup.pretrain(out=tmp_path / "run", resume=True, progress=False)
    assert same(weights(resumed), weights(straight))


def _stop_after(steps: int) -> Any:
    take = Stepper.take

    def taken(stepper: Stepper, batch: Any) -> None:
        if stepper.step == steps:
            raise KeyboardInterrupt
        take(stepper, batch)

    return taken
