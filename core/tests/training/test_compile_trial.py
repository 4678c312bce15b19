"""Whether compiling pays is measured, kept and followed, and a compiled step that fails is taken again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.errors import ConfigError
from selfsup.training.device import compilation, compile_trial
from selfsup.training.device.compile_trial import CompileTrial, Measured, StepClock
from selfsup.training.loop.stepper import Stepper

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks at it itself

HERE = {"device": "a GPU", "torch": "2.x"}
CONSTANT = {"schedule": "constant", "warmup_fraction": 0.0, "compile": "auto"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


class Clock:
    """Says what a run's steps take; the first compiled one takes 8 s more."""

    def __init__(self, run: Steps) -> None:
        self.run, self.took = run, list[float]()

    @contextmanager
    def step(self) -> Iterator[None]:
        yield
        run = self.run
        compiling = run.compiled_steps == [run.step]
        self.took.append((run.after if run.compiled else run.before) + (8.0 if compiling else 0.0))

    def seconds(self) -> list[float]:
        found, self.took = self.took, []
        return found


class Steps:
    """A stepper whose steps take ``before`` seconds and, where they are compiled, ``after``."""

    def __init__(
        self, *, total: int, before: float, after: float, known: Mapping[str, Any] | None = None, first: int = 0
    ) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.compiled_steps: list[int] = []
        self.before, self.after, self.total, self.step = before, after, total, first
        self.compiled, self.compiles = False, 0
        self.task, self.generator = torch.nn.Linear(1, 1), torch.Generator()
        self.clock = Clock(self)
        self.trial = CompileTrial(
            self._compile,
            {"task": "x", **HERE},
            total_steps=total,
            device=torch.device("cpu"),
            decided=self.decisions.append,
            known=known or {},
            say=lambda text: None,
            clock=self.clock,  # type: ignore[arg-type]
        )

    def _compile(self) -> Any:
        self.compiled, self.compiles = True, self.compiles + 1
        return self

    def undo(self) -> None:
        self.compiled = False

    def take(self, batch: Any, backward: Any = None) -> None:
        self.step += 1
        if self.compiled:
            self.compiled_steps.append(self.step)

    def run(self) -> None:
        while self.step < self.total:
            self.trial.take(self, {})  # type: ignore[arg-type]


def test_a_long_run_is_compiled_and_a_short_one_is_not() -> None:
    long = Steps(total=10_000, before=0.1, after=0.05)
    long.run()
    assert [(each["backend"], each["state"], each["from_step"]) for each in long.decisions] == [
        ("inductor", "pending", 25), ("inductor", "compiled", 25), ("inductor", "judged", 25),
    ]  # fmt: skip
    assert long.decisions[-1]["found"] == {"seconds": pytest.approx(7.75), "gain": pytest.approx(2.0)}
    assert long.compiled_steps == list(range(26, 10_001))
    long.trial.undo()
    assert not long.compiled
    # What was measured is known now: 8 s for half of the time pay from 16 s on.
    short = Steps(total=100, before=0.1, after=0.05)
    short.run()
    assert short.compiles == 0
    (decision,) = short.decisions
    assert (decision["backend"], decision["measured"], decision["seconds_left"]) == ("off", True, 7.5)
    assert decision["reason"] == "it does not pay within the steps that are left"
    assert decision["expected"] == {"seconds": 7.75, "gain": 2.0}


def test_a_compilation_that_does_not_help_is_undone() -> None:
    slow = Steps(total=10_000, before=0.1, after=0.1)
    slow.run()
    assert slow.decisions[-1]["until_step"] == 50
    assert slow.compiled_steps == list(range(26, 51))
    assert not slow.compiled
    assert not Measured(5.0, 1.0).saves(1e9)


def test_the_time_of_a_step_is_a_median_of_steps_alone() -> None:
    class Disturbed(Clock):
        def seconds(self) -> list[float]:
            found = super().seconds()
            return [60.0, *found[1:]] if len(found) == 20 else found  # another program slows one step down

    run = Steps(total=10_000, before=0.1, after=0.05)
    run.trial._clock = Disturbed(run)  # type: ignore[assignment]
    run.run()
    assert run.decisions[0]["step_seconds"] == 0.1
    assert run.decisions[-1]["found"]["gain"] == 2.0


def test_a_resumed_run_follows_the_decision_from_its_first_step_on() -> None:
    known = {**HERE, "backend": "inductor", "state": "judged", "from_step": 25, "until_step": 50}
    resumed = Steps(total=60, before=0.1, after=0.1, known=known, first=30)
    resumed.run()
    assert resumed.compiled_steps == list(range(31, 51))
    assert not resumed.decisions
    early = Steps(total=60, before=0.1, after=0.1, known=known, first=10)
    early.run()
    assert early.compiled_steps == list(range(26, 51))
    never = Steps(total=60, before=0.1, after=0.1, known={**HERE, "backend": "off", "state": "judged"})
    never.run()
    assert not never.compiles
    assert not never.decisions


def test_a_run_that_ended_while_it_compiled_goes_on_uncompiled() -> None:
    known = {**HERE, "backend": "inductor", "state": "pending", "from_step": 25, "step_seconds": 0.1}
    resumed = Steps(total=10_000, before=0.1, after=0.05, known=known, first=20)
    resumed.run()
    assert not resumed.compiles
    (decision,) = resumed.decisions
    assert (decision["backend"], decision["reason"]) == ("off", "the run ended while it compiled")
    assert "from_step" not in decision


def test_a_run_that_was_interrupted_before_it_was_judged_is_judged_later() -> None:
    known = {**HERE, "backend": "inductor", "state": "compiled", "from_step": 25, "step_seconds": 0.1}
    resumed = Steps(total=10_000, before=0.1, after=0.1, known=known, first=40)
    resumed.run()
    assert resumed.compiled_steps == list(range(41, 66))
    assert resumed.decisions[-1]["until_step"] == 65
    assert resumed.decisions[-1]["state"] == "judged"


def test_a_run_that_was_too_short_decides_again_when_it_is_extended() -> None:
    short = Steps(total=100, before=0.1, after=0.05)
    short.run()
    (known,) = short.decisions
    same = Steps(total=100, before=0.1, after=0.05, known=known, first=60)
    same.run()
    assert not same.decisions
    longer = Steps(total=20_000, before=0.1, after=0.05, known=known, first=100)
    longer.run()
    assert longer.compiled_steps[0] == 101
    assert longer.decisions[-1]["found"]["gain"] == 2.0


def test_a_decision_of_another_device_does_not_count() -> None:
    known = {**HERE, "device": "another GPU", "backend": "inductor", "state": "pending", "from_step": 25}
    moved = Steps(total=10_000, before=0.1, after=0.05, known=known, first=40)
    moved.run()
    assert moved.decisions[-1]["from_step"] == 65


def test_steps_on_a_gpu_are_timed_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    waited: list[torch.device] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            assert stream == "stream of cuda:0"
            self.at = now[0]

        def elapsed_time(self, end: Event) -> float:
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    clock = StepClock(torch.device("cuda:0"))
    for milliseconds in (250.0, 500.0):
        with clock.step():
            now[0] += milliseconds
        now[0] += 9000.0  # a checkpoint
    assert not waited
    assert clock.seconds() == [0.25, 0.5]
    assert waited == [torch.device("cuda:0")]
    assert clock.seconds() == []


def pretrain(out: Path, **options: Any) -> selfsup.Run:
    heads = {"objective.hidden_dim": 16, "objective.output_dim": 8}
    options = {
        "task": "sequence/vicreg", "data": "toy-sequences", "batch_size": 64, "precision": "32", "progress": False, "lr": 0.01,
        "backbone": "sequence/conv", "log_every": 2, "probe_every": 4, **options,
    }  # fmt: skip
    return selfsup.pretrain(out=out, overrides={**heads, **CONSTANT, **options.pop("overrides", {})}, **options)


def weights(run: selfsup.Run) -> bytes:
    return (run.dir / "encoder" / "model.safetensors").read_bytes()


@pytest.fixture
def backend(
    toy: Path, monkeypatch: pytest.MonkeyPatch, compile_backend: Callable[[str, Callable[..., Any]], None]
) -> Callable[[Callable[..., Any]], None]:
    """Let ``auto`` compile on a CPU, after a trial of four steps, with a backend that a test sets."""
    monkeypatch.setattr(compilation, "_AUTOMATIC", ("cpu",))
    monkeypatch.setattr(compile_trial, "_PHASES", dict.fromkeys(compile_trial._PHASES, 1))
    monkeypatch.setattr(compile_trial, "_LEAST_GAIN", 0.0)
    monkeypatch.setattr(Measured, "saves", lambda self, seconds: seconds > 0)
    monkeypatch.setattr(compilation, "BACKEND", "of a test")
    made: list[Callable[..., Any]] = []
    compile_backend("of a test", lambda graph, inputs: made[-1](graph))
    return made.append


def louder(graph: Any) -> Any:
    """Compiled code that rounds in another way, so that each compiled step shows in the weights."""

    def run(*inputs: Any) -> Any:
        return tuple(1.001 * out if isinstance(out, torch.Tensor) else out for out in graph(*inputs))

    return run


def test_what_was_measured_does_not_count_for_a_run_that_computes_blocks_again(
    tmp_path: Path, backend: Callable[[Callable[..., Any]], None]
) -> None:
    backend(lambda graph: graph.forward)
    options: list[dict[str, Any]] = [{}, {}, {"checkpoint_activations": True}]
    runs = [
        pretrain(tmp_path / f"{number}", steps=8, backbone="sequence/transformer", overrides=more)
        for number, more in enumerate(options)
    ]
    assert [RunDirectory(run.dir).info()["compile"]["measured"] for run in runs] == [False, True, False]


def test_a_resumed_run_is_bit_by_bit_the_one_that_was_never_stopped(
    tmp_path: Path, backend: Callable[[Callable[..., Any]], None]
) -> None:
    backend(louder)
    plain = pretrain(tmp_path / "plain", steps=10, overrides={"compile": "off"})
    straight = pretrain(tmp_path / "straight", steps=10)
    decision = RunDirectory(straight.dir).info()["compile"]
    assert (decision["backend"], decision["state"], decision["from_step"]) == ("inductor", "judged", 2)
    assert weights(plain) != weights(straight)
    first = pretrain(tmp_path / "run", steps=6)
    resumed = pretrain(first.dir, steps=10, resume=True)
    assert weights(resumed) == weights(straight)
    assert RunDirectory(resumed.dir).info()["bit_identical"] is True


def test_compiling_can_be_turned_off_for_a_resumed_run(
    tmp_path: Path, backend: Callable[[Callable[..., Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    backend(louder)
    run = pretrain(tmp_path / "run", steps=4)
    with pytest.raises(ConfigError, match=r"not started with optimization.compile = 'eager' .* be turned off"):
        selfsup.pretrain(out=run.dir, resume=True, steps=8, overrides={"optimization.compile": "eager"})

    def refuse(graph: Any) -> Any:
        raise AssertionError("it compiles")

    backend(refuse)
    selfsup.pretrain(out=run.dir, resume=True, steps=8, overrides={"optimization.compile": "off"})
    assert "compile=off (before: auto)" in " ".join(capsys.readouterr().err.split())
    info = RunDirectory(run.dir).info()
    assert (info["config"]["optimization"]["compile"], info["bit_identical"]) == ("off", False)
    assert [(entry["from_step"], entry["compile"]) for entry in info["history"]] == [(0, "auto"), (4, "off")]
    selfsup.pretrain(out=run.dir, resume=True, steps=9, progress=False)
    assert RunDirectory(run.dir).info()["history"][-1]["compile"] == "off"


@pytest.mark.parametrize("dies_at", ["first compiled step", "later"])
def test_a_compiled_step_that_fails_is_taken_again_uncompiled(
    tmp_path: Path,
    backend: Callable[[Callable[..., Any]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dies_at: str,
) -> None:
    calls: list[int] = []

    def failing(graph: Any) -> Any:
        def run(*inputs: Any) -> Any:
            calls.append(1)
            out = graph(*inputs)
            if dies_at != "later" or len(calls) > 1:
                raise RuntimeError("out of resources\nmore")
            return out

        return run

    backend(failing)
    plain = pretrain(tmp_path / "plain", steps=6, overrides={"compile": "off"})
    run = pretrain(tmp_path / "run", steps=6, progress=True)
    assert weights(run) == weights(plain)
    decision = RunDirectory(run.dir).info()["compile"]
    if dies_at == "later":
        assert (decision["backend"], decision["from_step"], decision["until_step"]) == ("inductor", 2, 3)
    else:
        assert (decision["backend"], "from_step" in decision) == ("off", False)
    assert decision["reason"] == "RuntimeError: out of resources"
    shown = " ".join(capsys.readouterr().err.split())
    assert "a compiled step failed (RuntimeError: out of resources). The run goes on uncompiled." in shown


def test_a_step_that_fails_compiled_or_not_ends_the_run(
    tmp_path: Path, backend: Callable[[Callable[..., Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend(lambda graph: graph.forward)
    own = Stepper.backward

    def broken(self: Stepper, batch: Any) -> Any:
        if self.step == 3:
            raise ValueError("a fault of the task")
        return own(self, batch)

    monkeypatch.setattr(Stepper, "backward", broken)
    with pytest.raises(ValueError, match="a fault of the task"):
        pretrain(tmp_path / "run", steps=6)
    assert RunDirectory(tmp_path / "run").info()["compile"]["state"] == "compiled"


def test_a_process_that_dies_while_it_compiles_has_left_the_decision_pending(
    tmp_path: Path, backend: Callable[[Callable[..., Any]], None]
) -> None:
    class Killed(BaseException):
        pass

    def die(graph: Any) -> Any:
        held = json.loads((tmp_path / "run" / "run.json").read_text())["compile"]
        assert (held["state"], held["from_step"]) == ("pending", 2)
        raise Killed

    backend(die)
    with pytest.raises(Killed):
        pretrain(tmp_path / "run", steps=6, overrides={"checkpoint_every": 1})
    resumed = selfsup.pretrain(out=tmp_path / "run", resume=True, progress=False)
    assert resumed.encoder.metadata["steps"] == 6
    assert RunDirectory(resumed.dir).info()["compile"]["reason"] == "the run ended while it compiled"
