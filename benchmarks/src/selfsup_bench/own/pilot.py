"""A short pilot of each task in a process of its own: how long it takes to start, to step and to be evaluated here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from selfsup_bench.cells import FEW_LABELS, Cell, Line
from selfsup_bench.executors import Executor, Job
from selfsup_bench.own.schedule import Speed
from selfsup_bench.records import Record, RecordStore

STEPS = 12
"""Optimizer steps of a pilot, timed in stretches of four; the first stretch holds what happens only once."""
FOLDER = "pilot"


@dataclass(frozen=True)
class Piloted:
    """What the pilots showed."""

    speeds: Mapping[str, Speed]
    """Benchmark to what was measured of its task."""
    supervised: Mapping[str, Speed]
    failed: Mapping[str, str]
    """Benchmark to why its task cannot run here."""


def pilot_cell(cell: Cell) -> Cell:
    """A cell that trains a few steps and evaluates little."""
    few = f"evaluators.{FEW_LABELS}."
    overrides = {key: value for key, value in cell.overrides.items() if not key.startswith("evaluators.")}
    counts = [int(count) for count in cell.overrides.get(f"{few}per_class", [1])][:1]
    return replace(
        cell,
        steps=STEPS,
        evaluators=(FEW_LABELS,),
        # A run looks at its embeddings 20 times at most, and so short a one would do little else.
        overrides={
            **overrides,
            "log_every": STEPS // 3,
            "probe_every": STEPS,
            f"{few}per_class": counts,
            f"{few}draws": 1,
        },
    )


def pilots(
    lines: Sequence[Line],
    folder: Path,
    executor: Executor,
    *,
    threads: int,
    device: str,
    untrained: Mapping[str, Record],
    rows: tuple[int, int],
) -> Piloted:
    """Run the pilot of each task and of each supervised reference, as many at a time as cells later.

    Args:
        lines: of a single seed.
        folder: for the pilots alone, with the division of the data in it.
        executor: runs them.
        threads: CPU threads of a cell.
        device: ``auto``, ``cpu`` or ``gpu``.
        untrained: benchmark to the record of its untrained network, which says how long an evaluation takes.
        rows: that tasks and the supervised references train on.
    """
    cells: dict[str, Cell] = {}
    of_line: dict[tuple[str, str], str] = {}
    for line in lines:
        for kind in ("task", "supervised"):
            cell = pilot_cell(line.cells[kind][0])
            cells.setdefault(cell.key({}), cell)
            of_line[line.spec.id, kind] = cell.key({})
    jobs = [Job(key, cell, folder, {}, threads=threads, device=device) for key, cell in cells.items()]
    ended: dict[str, str] = {}
    with closing(executor.run(jobs)) as outcomes:
        for outcome in outcomes:
            ended[outcome.job.key] = outcome.error
    store = RecordStore(folder)
    records = {key: _read(store, key, cell, ended.get(key, "")) for key, cell in cells.items()}
    speeds: dict[str, Speed] = {}
    supervised: dict[str, Speed] = {}
    failed: dict[str, str] = {}
    for line in lines:
        mine, labels = records[of_line[line.spec.id, "task"]], records[of_line[line.spec.id, "supervised"]]
        if mine.status == "failed":
            failed[line.spec.id] = mine.error
            continue
        known = untrained[line.spec.id].seconds
        # With the drawing of the embeddings, which the first seed has.
        evaluate = known.get("total", 0.0) - known.get("pretrain", 0.0)
        speeds[line.spec.id] = speed_of(mine, evaluate, rows[0])
        # Where there are too few labels for it, it is as slow as the task, and says so when it runs.
        supervised[line.spec.id] = speed_of(labels if labels.status == "done" else mine, evaluate, rows[1])
    return Piloted(speeds, supervised, failed)


def speed_of(record: Record, evaluate: float, rows: int) -> Speed:
    """What a pilot's record says.

    Args:
        record: of a pilot.
        evaluate: seconds of a whole evaluation.
        rows: that are trained on.
    """
    batch = int(record.cell.overrides["optimization.batch_size"])
    spent = record.seconds.get("pretrain", 0.0)
    step = batch / record.samples_per_second if record.samples_per_second else spent / STEPS
    rest = record.seconds.get("total", spent) - spent - record.seconds.get("evaluate", 0.0)
    startup = max(0.0, spent - STEPS * step) + max(0.0, rest)
    return Speed(startup=startup, evaluate=evaluate, step=step, epoch=rows / batch)


def _read(store: RecordStore, key: str, cell: Cell, error: str) -> Record:
    record = store.read(key)
    if record is not None:
        return record
    return Record(key=key, cell=cell, status="failed", error=error or "it ended without a record")
