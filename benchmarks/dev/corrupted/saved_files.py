"""Damage what selfsup itself wrote: a run's folder, an encoder, checkpoints, stores, records of results and of a benchmark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import selfsup
from corrupted.structure import damaged_file
from selfsup.artifacts import RunDirectory
from selfsup.artifacts.results import ResultRecord, read_results
from selfsup_bench import runner
from selfsup_bench.cells.lines import lines
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore

BASE = "CORRUPTED_BASE"
"""Environment variable that names the folder of :func:`make_base`."""
_TEXTS = "".join(f"the {n}. sentence is about the sea and number {7 * n % 11}\n" for n in range(40))
_OPTIONS = {
    "processor.vocab_size": 64,
    "processor.packing": "none",
    "backbone.hidden_size": 16,
    "backbone.layers": 1,
    "batch_size": 8,
    "precision": "32",
    "checkpoint_every": 2,
}


def make_base(folder: Path) -> None:
    """Make a run with an encoder and a checkpoint, its store, a record of a result, and a benchmark with records."""
    (folder / "rows.txt").write_text(_TEXTS)
    os.environ["SELFSUP_CACHE"] = str(folder / "cache")
    run = selfsup.pretrain("text/mlm", folder / "rows.txt", out=folder / "run", steps=4, progress=False, overrides={**_OPTIONS})
    record = ResultRecord(
        task="text/mlm",
        backbone="text-encoder-small",
        dataset="rows",
        dataset_fingerprint="0" * 8,
        evaluator="linear",
        metrics={"accuracy": 0.5},
        n_train=20,
        n_test=20,
        seed=0,
        encoder=run.encoder.digest(),
        seconds=1.5,
    )
    record.write(folder / "run" / "results")
    _make_benchmark(folder / "benchmark")


def _make_benchmark(folder: Path) -> None:
    from selfsup.registry.specs import BenchmarkSpec

    spec = BenchmarkSpec(
        id="mlm-rows",
        summary="A benchmark of nothing.",
        task="text/mlm",
        dataset="rows",
        suites=("quick",),
        steps=4,
        evaluators=("linear",),
        headline="linear.accuracy",
    )
    made = tuple(lines([spec], (0,), {spec.id: ("text", "text-encoder-small")}))
    draft = Plan("quick", (0,), made, {})
    plan = Plan("quick", (0,), made, {cell.key({}): cell.key({}) for cell in draft.cells()})
    plan.write(folder)
    for cell in plan.cells():
        metrics = {"linear.accuracy": 0.5, "knn.accuracy": 0.4}
        RecordStore(folder).write(
            Record(key=plan.key(cell), cell=cell, status="done", metrics=metrics, curve=((1, 2.0), (2, 1.0)))
        )


def _load(folder: Path) -> None:
    selfsup.load(folder / "run").embed(["the sea", "a number"])


def _resume(folder: Path) -> None:
    selfsup.pretrain(out=folder / "run", resume=True, steps=6, progress=False)


def _prepare_again(folder: Path) -> None:
    os.environ["SELFSUP_CACHE"] = str(folder / "cache")
    selfsup.pretrain(
        "text/mlm", base_folder() / "rows.txt", out=folder / "again", steps=1, progress=False, overrides={**_OPTIONS}
    )


def _results(folder: Path) -> None:
    read_results(folder / "run" / "results")
    list(RunDirectory.open(folder / "run").metrics())


def _report(folder: Path) -> None:
    runner.write_report(folder / "benchmark")


SAVED: dict[str, tuple[str, tuple[Callable[[Path], None], ...]]] = {
    "model.safetensors": ("run/encoder/model.safetensors", (_load,)),
    "config.json": ("run/encoder/config.json", (_load,)),
    "tokenizer.json": ("run/encoder/processor/*tokenizer*.json", (_load,)),
    "processor.json": ("run/encoder/processor/*.json", (_load,)),
    "pretraining_rows.npy": ("run/encoder/pretraining_rows.npy", (_load,)),
    "checkpoint": ("run/checkpoints/last.pt", (_resume,)),
    "run.json": ("run/run.json", (_load, _resume)),
    "metrics.jsonl": ("run/metrics.jsonl", (_results, _resume)),
    "start": ("run/start/**/*.json", (_resume,)),
    "result": ("run/results/*.json", (_results,)),
    "store": ("cache/stores/*/*", (_prepare_again,)),
    "converted": ("cache/[tfho]*/**/*.*", (_prepare_again,)),
    "record": ("benchmark/records/*.json", (_report,)),
    "benchmark.json": ("benchmark/benchmark.json", (_report,)),
}
"""Kind to its files, and to what reads them. A seed chooses one of the files, which is damaged, and one of these functions."""


def base_folder() -> Path:
    """The folder that :func:`make_base` filled."""
    return Path(os.environ[BASE])


@cache
def files_of(kind: str) -> tuple[Path, ...]:
    """The files of a kind, relative to the base folder."""
    base = base_folder()
    found = sorted(file for file in base.glob(SAVED[kind][0]) if file.is_file() and file.suffix != ".lock")
    if not found:
        raise FileNotFoundError(f"{base} has no file {SAVED[kind][0]}")
    return tuple(file.relative_to(base) for file in found)


def try_saved(kind: str, seed: int, folder: Path) -> None:
    """Copy what the kind belongs to, damage one file of it, and read it."""
    base, files = base_folder(), files_of(kind)
    top = files[0].parts[0]
    shutil.copytree(base / top, folder / top)
    if top != "cache":
        os.environ["SELFSUP_CACHE"] = str(base / "cache")
    file = files[seed // 16 % len(files)]
    others = tuple((base / other).read_bytes() or b"\0" for other in _others(file))
    (folder / file).write_bytes(damaged_file((base / file).read_bytes() or b"\0", file.suffix.removeprefix("."), seed, others))
    read = SAVED[kind][1]
    read[seed // 7 % len(read)](folder)


def _others(file: Path) -> list[Path]:
    known = [Path("run/run.json"), Path("run/encoder/model.safetensors"), Path("run/encoder/config.json"), Path("rows.txt")]
    return [other for other in known if other != file]
