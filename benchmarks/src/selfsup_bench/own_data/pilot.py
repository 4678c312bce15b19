"""A short pilot of each task in its own process, which measures the time to start, for a step, and to evaluate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from selfsup.artifacts import RunDirectory
from selfsup_bench.cells.cell import FEW_LABELS, Cell
from selfsup_bench.cells.lines import Line
from selfsup_bench.cells.time_limit import TOO_LONG
from selfsup_bench.executors import Executor, Job
from selfsup_bench.own_data.budget import Measured, Network, scratch_batch, scratch_steps
from selfsup_bench.own_data.candidates import shared_key
from selfsup_bench.own_data.rows.divide_rows import Divided
from selfsup_bench.own_data.schedule import Speed
from selfsup_bench.records.record import Record, RecordStore

STEPS = 12
"""Optimizer steps of a pilot, timed in stretches of four; the first stretch holds what happens only once."""
FOLDER = "pilot"
SHARE = 0.25
"""Part of the time that pilots may take together; what takes longer is ended, and left out."""
_LEAST = 30.0
"""Seconds that each pilot may take at least: starting up takes a few, on a busy machine ten."""


@dataclass(frozen=True)
class Piloted:
    """What the pilots showed."""

    speeds: Mapping[str, Speed]
    """Benchmark to what was measured of its task."""
    supervised: Mapping[str, Speed]
    failed: Mapping[str, str]
    """Benchmark to why its task cannot run here."""
    slow: Mapping[str, Speed] = field(default_factory=dict)
    """Benchmark to how fast its task is at most, where the pilot took too long."""
    untrained: Mapping[str, float] = field(default_factory=dict)
    """Benchmark to the seconds of its untrained network's cell."""
    in_turn: int = 1
    """Pilots that run one after another, beside as many others as run at a time."""

    def minutes_for_pilot(self, name: str) -> float:
        """Minutes of a benchmark in which the pilot that took too long would end in its part of the time."""
        speed = self.slow[name]
        return self.in_turn * (speed.startup + STEPS * speed.step + speed.evaluate) / (60 * SHARE)


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
    seconds: float,
    at_once: int,
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
        seconds: that all pilots may take together, each as much of it as every other.
        at_once: pilots at a time.
    """
    cells: dict[str, Cell] = {}
    of_line: dict[tuple[str, str], str] = {}
    for line in lines:
        for kind in ("task", "supervised"):
            cell = pilot_cell(line.cells[kind][0])
            cells.setdefault(cell.key({}), cell)
            of_line[line.spec.id, kind] = cell.key({})
    in_turn = math.ceil(len(cells) / max(1, at_once))
    limit = max(_LEAST, seconds / in_turn)
    jobs = [Job(key, cell, folder, {}, threads=threads, device=device, seconds=limit) for key, cell in cells.items()]
    ended: dict[str, str] = {}
    with closing(executor.run(jobs)) as outcomes:
        for outcome in outcomes:
            ended[outcome.job.key] = outcome.error
    store = RecordStore(folder)
    records = {key: _read(store, key, cell, ended.get(key, "")) for key, cell in cells.items()}
    speeds: dict[str, Speed] = {}
    supervised: dict[str, Speed] = {}
    failed: dict[str, str] = {}
    slow: dict[str, Speed] = {}
    cut = {job.key: job for job in jobs if TOO_LONG in records[job.key].error}
    for line in lines:
        keys = of_line[line.spec.id, "task"], of_line[line.spec.id, "supervised"]
        mine, labels = records[keys[0]], records[keys[1]]
        known = untrained[line.spec.id].seconds
        # With the drawing of the embeddings, which the first seed has.
        evaluate = known.get("total", 0.0) - known.get("pretrain", 0.0)
        if mine.status == "failed" and keys[0] not in cut:
            failed[line.spec.id] = mine.error
            continue
        task = speed_of_cut(cut[keys[0]], evaluate, rows[0]) if keys[0] in cut else speed_of(mine, evaluate, rows[0])
        (slow if keys[0] in cut else speeds)[line.spec.id] = task
        if keys[1] in cut:
            supervised[line.spec.id] = speed_of_cut(cut[keys[1]], evaluate, rows[1])
        elif labels.status == "done":
            supervised[line.spec.id] = speed_of(labels, evaluate, rows[1])
        else:  # there are too few labels for it: as slow as the task, and says so when it runs
            supervised[line.spec.id] = replace(task, epoch=task.epoch * rows[1] / rows[0])
    seconds_of = {name: record.seconds.get("total", 0.0) for name, record in untrained.items()}
    return Piloted(speeds, supervised, failed, slow, seconds_of, in_turn)


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


def speed_of_cut(job: Job, evaluate: float, rows: int) -> Speed:
    """How fast a pilot that took too long was at most, from the steps that it has logged.

    Args:
        job: of the pilot, with its limit.
        evaluate: seconds of a whole evaluation.
        rows: that are trained on.
    """
    assert job.seconds is not None
    batch = int(job.cell.overrides["optimization.batch_size"])
    run = job.folder / "run"
    logged = [line for line in (RunDirectory(run).metrics() if run.is_dir() else []) if "samples_per_second" in line]
    if not logged:  # not even the first stretch
        return Speed(startup=0.0, evaluate=evaluate, step=3 * job.seconds / STEPS, epoch=rows / batch)
    step, done = batch / float(logged[-1]["samples_per_second"]), int(logged[-1]["step"])
    return Speed(startup=max(0.0, job.seconds - done * step), evaluate=evaluate, step=step, epoch=rows / batch)


def measured(
    lines: Sequence[Line],
    speeds: Mapping[str, Speed],
    found: Piloted,
    divided: Divided,
    *,
    draws: int,
    parts: int,
    jobs: int,
) -> Measured:
    """What there is to share the time out among.

    Args:
        lines: of a single seed.
        speeds: of the tasks that take part.
        found: what pilots showed.
        divided: the parts of the data.
        draws: of the few labels.
        parts: cells at most among which those of training from scratch are shared out.
        jobs: cells at a time.
    """
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line.spec.id in speeds:
            groups.setdefault(f"{line.backbone} {shared_key(line.spec)}", []).append(line)
    few = divided.drawn or divided.per_class * max(1, len(divided.classes) or 10)
    networks = []
    for members in groups.values():
        first = members[0].spec
        speed = found.supervised[first.id]
        usual = max(divided.n_labelled / speed.epoch, 1.0)
        networks.append(
            Network(
                benchmarks=tuple(line.spec.id for line in members),
                supervised=speed,
                untrained=found.untrained[first.id],
                step=speed.step * scratch_batch(first.overrides, few) / usual,
                converged=scratch_steps(first.overrides, few),
            )
        )
    return Measured(speeds=speeds, networks=tuple(networks), draws=draws, parts=parts, jobs=jobs)


def nothing_to_train(failed: Mapping[str, str], slow: Mapping[str, float]) -> str:
    """Why no task is left: what failed, and what needs how many minutes."""
    if failed:
        return f"No task can be trained on this data: {next(iter(failed.values()))}"
    name, minutes = min(slow.items(), key=lambda pair: pair[1])
    return (
        f"No task can be trained on this data in the time: the pilot of each was cut off. {name.removeprefix('own-')} needs "
        f"about --minutes {math.ceil(minutes)}."
    )


def _read(store: RecordStore, key: str, cell: Cell, error: str) -> Record:
    record = store.read(key)
    if record is not None:
        return record
    return Record(key=key, cell=cell, status="failed", error=error or "it ended without a record")
