"""A run of many steps: memory, files, threads, child processes, traffic and the time of a step stay flat."""

from __future__ import annotations

import itertools
import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import selfsup
from long_runs import soak
from long_runs.soak import Change, changes, repeated, sampled
from selfsup.artifacts import RunDirectory
from selfsup.testing.toy.sequences.installed import installed
from selfsup.testing.toy.sequences.rows import id_rows

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="what a process holds is read from /proc"),
    pytest.mark.filterwarnings("ignore:.*rows of .* are left out"),
]

MB = 1 << 20
Record = Callable[[str, object], None]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The toy modality and its rows as files, some of them bad."""
    monkeypatch.setenv("SELFSUP_PLUGINS", "sequences")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    rows = [{"sequence": row["sequence"]} for row in id_rows(120, 0)]
    for place in (7, 60):
        rows[place] = {"sequence": []}
    data = tmp_path / "data"
    data.mkdir()
    for number in range(4):
        (data / f"part-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[number::4]))
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in id_rows(60, 1)))
    with installed(tmp_path / "site"):
        yield tmp_path


def soaked(folder: Path, steps: int, *, more: Mapping[str, Any] | None = None, **options: Any) -> Mapping[str, Change]:
    """Pretrain with checkpoints, checks of the embeddings, a probe and two logs; how what the process holds changed."""
    settings: dict[str, Any] = {
        "data": str(folder / "data"), "val": str(folder / "labelled.jsonl"), "out": folder / "run", "progress": False,
        "backbone": "sequence/conv", "batch_size": 8, "precision": "32", "max_bad_rows": 0.1, "loggers": ["tensorboard"],
        "log_every": 10, "checkpoint_every": 50, "probe_every": 100,
    }  # fmt: skip
    small = {"objective.hidden_dim": 8, "objective.output_dim": 8, **(more or {})}
    with sampled(steps) as samples:
        selfsup.pretrain("sequence/simclr", steps=steps, **{**settings, **options}, overrides=small)
    return changes(samples)


def check(found: Mapping[str, Change], *, megabytes: float, slower: float) -> None:
    for name in ("files", "threads", "children"):
        assert found[name].growth < 1, f"{name}: {found[name]}"
    assert found["memory"].growth < megabytes * MB, f"memory: {found['memory']}"
    for name in ("cost", "read", "written"):
        assert found[name].ratio < slower, f"{name}: {found[name]}"


def check_files(run: RunDirectory, steps: int) -> dict[str, float]:
    """The files of a run: bounded by its steps, or not growing at all."""
    sizes = {path.relative_to(run.path).as_posix(): path.stat().st_size for path in run.path.rglob("*") if path.is_file()}
    lines = sum(1 for _ in run.metrics())
    assert steps / 10 <= lines <= steps / 10 + 3
    assert sizes["metrics.jsonl"] < 500 * lines
    logs = sum(size for name, size in sizes.items() if name.startswith("tensorboard/"))
    assert logs < 1000 * lines
    assert sizes["run.json"] < 20_000
    assert [name for name in sizes if name.startswith("checkpoints/")] == ["checkpoints/best.pt", "checkpoints/last.pt"]
    assert sizes["checkpoints/last.pt"] < 100_000
    return {"bytes of metrics.jsonl a step": sizes["metrics.jsonl"] / steps, "bytes of event files a step": logs / steps}


def record(found: Mapping[str, Change], record_property: Record) -> None:
    record_property("memory", f"{found['memory'].early / MB:.1f} MB early, {found['memory'].late / MB:.1f} MB late")
    for name in ("files", "threads", "children", "read", "written"):
        record_property(f"{name}{' a step' if name in ('read', 'written') else ''}", str(found[name]))
    for name in ("seconds", "cpu_seconds", "cost"):
        record_property(f"{name} a step", str(found[name]))


def test_work_that_grows_is_told_from_a_processor_that_slows_down(monkeypatch: pytest.MonkeyPatch) -> None:
    assert soak.fixed_work() > 0
    now, slowness = [0.0], [1.0]
    monkeypatch.setattr(soak, "time", SimpleNamespace(process_time=lambda: now[0]))
    monkeypatch.setattr(soak, "fixed_work", lambda: slowness[0])

    def work(amounts: Iterator[int]) -> None:
        now[0] += next(amounts) * slowness[0]
        slowness[0] *= 1.01

    same = repeated(partial(work, itertools.repeat(3)), 100)
    assert same["cpu_seconds"].ratio > 2
    assert same["cost"].ratio == pytest.approx(1)
    grows = repeated(partial(work, itertools.count(100)), 100)
    assert grows["cost"].ratio > 1.5


@pytest.mark.slow
def test_a_short_soak(toy: Path) -> None:
    steps = 1500
    check(soaked(toy, steps), megabytes=12, slower=1.5)
    check_files(RunDirectory(toy / "run"), steps)


@pytest.mark.long
def test_a_soak_of_100_000_steps(toy: Path, record_property: Record) -> None:
    steps = 100_000
    found = soaked(toy, steps)
    record(found, record_property)
    check(found, megabytes=8, slower=1.2)
    for name, size in check_files(RunDirectory(toy / "run"), steps).items():
        record_property(name, f"{size:.1f}")


@pytest.mark.long
def test_a_soak_of_20_000_streamed_steps(toy: Path, record_property: Record) -> None:
    steps = 20_000
    found = soaked(toy, steps, stream=True, more={"streaming.workers": 1, "streaming.buffer": 32})
    record(found, record_property)
    check(found, megabytes=8, slower=1.2)
    check_files(RunDirectory(toy / "run"), steps)


@pytest.mark.long
def test_a_hundred_resumed_runs_and_evaluations_in_one_process(toy: Path, record_property: Record) -> None:
    """What a notebook or a service does: each call gives back all that it took."""
    soaked(toy, 10)
    draw = random.Random(0)
    steps = iter(range(20, 10_000, 10))

    def again() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            selfsup.pretrain(out=toy / "run", resume=True, steps=next(steps), progress=False)
            selfsup.evaluate(toy / "run", str(toy / "labelled.jsonl"), evaluators=["knn", "linear"], seed=draw.randrange(3))
            selfsup.embed(toy / "run", str(toy / "labelled.jsonl"), toy / "embeddings.npy")

    found = repeated(again, 100)
    record(found, record_property)
    for name in ("files", "threads", "children"):
        assert found[name].growth < 1, f"{name}: {found[name]}"
    assert found["memory"].growth < 24 * MB
