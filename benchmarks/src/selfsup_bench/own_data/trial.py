"""Runs a benchmark of own data: reads and divides it, measures speeds, plans, and runs seed after seed until the time is up."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from selfsup.errors import BenchmarkError
from selfsup.registry import BenchmarkSpec
from selfsup_bench.cells.cell import FEW_LABELS, Cell, is_raw
from selfsup_bench.cells.lines import Line, lines
from selfsup_bench.executors import Job
from selfsup_bench.executors.base import Machine
from selfsup_bench.leaderboard.board import Leaderboard
from selfsup_bench.own_data import pilot
from selfsup_bench.own_data.advice.recommendation import FILE as RECOMMENDATION
from selfsup_bench.own_data.budget import CONVERGED, PLANNED, Measured, decide, enough, minutes_for
from selfsup_bench.own_data.candidates import SUITE, on_data
from selfsup_bench.own_data.rows.divide_rows import Divided
from selfsup_bench.own_data.schedule import MOST_ROUNDS, Schedule, Speed
from selfsup_bench.own_data.state import State
from selfsup_bench.planning.make_plan import Planned, keyed, of_parts, resolved
from selfsup_bench.planning.plan import Plan
from selfsup_bench.progress import duration
from selfsup_bench.records.record import Record, RecordStore
from selfsup_bench.runner import run_locked, write_report

SLACK = 0.1
"""Part of the time that a planned seed may take beyond it."""


class Trial:
    """A benchmark of own data in a folder, whose lock the caller holds."""

    def __init__(self, state: State, specs: Sequence[BenchmarkSpec], out: Path, machine: Machine) -> None:
        """Make a trial.

        Args:
            state: what is decided already.
            specs: the tasks to try, from :func:`~selfsup_bench.own_data.candidates.candidates`.
            out: folder of the benchmark; the division of the data is in it.
            machine: where cells run.
        """
        self.state, self.specs, self.out, self.machine = state, list(specs), out, machine
        self.store = RecordStore(out)
        self.began = time.monotonic() - state.spent
        self._plans: dict[tuple[tuple[int, ...], bool], Planned] = {}

    @property
    def divided(self) -> Divided:
        """The parts of the data."""
        return self.state.divided

    def left(self) -> float:
        """Seconds until the time is up."""
        return 60 * max(self.state.minutes, self.state.extended) - (time.monotonic() - self.began)

    def measure(self) -> None:
        """Run the references that train nothing and a pilot of each task, and plan. Done once."""
        if self.state.schedule is not None:
            return
        self.machine.say("Measuring how fast each task is here.")
        every = self.lines((0,))
        plain = [line.cells[kind][0] for line in every for kind in line.cells if is_raw(kind) or kind == "random-init"]
        self._run_some((0,), plain)
        untrained = {line.spec.id: self._record(line, "random-init") for line in every}
        folder = self.out / pilot.FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        self.divided.division.save(folder)
        rows = (self.divided.n_train, self.divided.n_labelled)
        found = pilot.pilots(
            every,
            folder,
            self.machine.make_executor(self._measuring),
            threads=self.machine.threads,
            device=self.machine.device,
            untrained=untrained,
            rows=rows,
            seconds=pilot.SHARE * self.left(),
            at_once=self.machine.jobs,
        )
        shutil.rmtree(folder, ignore_errors=True)
        slow = self._slow(every, found)
        for name, error in found.failed.items():
            self.machine.say(f"left out: {name}: {error.splitlines()[0]}")
        for name, minutes in slow.items():
            self.machine.say(f"left out: {name}: it is too slow here; it needs about --minutes {math.ceil(minutes)}.")
        if not found.speeds:
            raise BenchmarkError(pilot.nothing_to_train(found.failed, slow))
        measured = self._measured(every, found.speeds, found)
        decision = decide(measured, PLANNED * self.left())
        needed = 0.0
        if not enough(decision):
            needed = minutes_for(measured, enough, minutes=self.state.minutes, spent=self._spent())
        self.state = replace(
            self.state,
            schedule=decision.schedule,
            scratch_steps=decision.scratch_steps,
            scratch_draws=decision.scratch_draws,
            failed=dict(found.failed),
            slow=slow,
            spent=self._spent(),
            enough=needed,
        )
        self.state.write(self.out)

    def _measured(self, every: Sequence[Line], speeds: Mapping[str, Speed], found: pilot.Piloted) -> Measured:
        state = self.state
        return pilot.measured(
            every, speeds, found, state.divided, draws=state.draws, parts=state.scratch_parts, jobs=self.machine.jobs
        )

    def _slow(self, every: Sequence[Line], found: pilot.Piloted) -> dict[str, float]:
        """Benchmark to the minutes that its task needs, for tasks whose pilot took too long."""
        return {
            name: max(
                minutes_for(
                    self._measured(every, {name: speed}, found), enough, minutes=self.state.minutes, spent=self._spent()
                ),
                found.minutes_for_pilot(name) + self._spent() / 60,
            )
            for name, speed in found.slow.items()
        }

    def rounds(self) -> Leaderboard:
        """Run seed after seed: at least one, then as many as were planned or fit the time.

        Raises:
            KeyboardInterrupt: after the folder was put in order.
        """
        plan = self.plan
        (self.out / RECOMMENDATION).unlink(missing_ok=True)  # that of fewer seeds, above new figures
        done = self.state.finished
        # What is whole stays so; of it only what failed is tried again.
        board = self._round(range(done)) if done else None
        took = plan.later
        while done < MOST_ROUNDS:
            slack = SLACK * 60 * self.state.minutes if done < plan.rounds else 0.0
            if done and took > self.left() + slack:
                break
            began = time.monotonic()
            at_once = max(1, self.machine.jobs // max(1, len(plan.steps) + 2))
            wanted = min(done + at_once, MOST_ROUNDS if done >= plan.rounds else plan.rounds)
            seeds = f"Seed {done + 1}" if wanted == done + 1 else f"Seeds {done + 1} to {wanted}"
            left = f", {duration(self.left())} left" if self.left() > 0 else ""
            self.machine.say(f"{seeds} of {max(plan.rounds, wanted)}{left}.")
            try:
                board = self._round(range(wanted))
            except KeyboardInterrupt:
                self._put_in_order(done)
                raise
            # The first seed has cells that later ones share: raw features, training from scratch.
            # Seeds that run side by side take as long as one.
            spent = time.monotonic() - began
            took = spent if done else spent * min(1.0, plan.later / plan.first)
            done = wanted
            self.state = replace(self.state, spent=self._spent(), finished=done)
            self.state.write(self.out)
            self.clean()
        assert board is not None
        return board

    @property
    def plan(self) -> Schedule:
        """The schedule that was made."""
        assert self.state.schedule is not None
        return self.state.schedule

    def lines(self, seeds: Sequence[int]) -> list[Line]:
        """The lines of all tasks that take part, seed by seed."""
        state, registry = self.state, self.machine.registry
        specs = on_data(
            self.specs,
            state.reading.name,
            state.divided,
            draws=state.draws,
            scratch_steps=state.scratch_steps or CONVERGED,
            minutes=state.minutes,
        )
        if state.schedule is not None:
            specs = [replace(spec, steps=state.schedule.steps[spec.id]) for spec in specs if spec.id in state.schedule.steps]
        kept, resolve, _ = resolved(specs, registry)
        reading = {**state.reading.as_dict(), "rows": state.divided.division.digest}
        made = lines(kept, seeds, resolve, of_parts=of_parts(registry), reading=reading)
        # However many seeds there are in the end, the draws of training from scratch are shared out alike.
        draws = state.scratch_draws or state.draws
        of_draws = [replace(spec, overrides={**spec.overrides, f"evaluators.{FEW_LABELS}.draws": draws}) for spec in kept]
        parts = range(min(state.scratch_parts, draws))
        fixed = lines(of_draws, parts, resolve, of_parts=of_parts(registry), reading=reading)
        return [self._shared(line, first) for line, first in zip(made, fixed, strict=True)]

    def _shared(self, line: Line, first: Line) -> Line:
        """The line with references that all tasks on its network share."""
        cells = {**line.cells, "scratch": first.cells["scratch"]}
        if self.state.schedule is not None:
            steps = self.state.schedule.supervised[line.spec.id]
            cells["supervised"] = tuple(replace(cell, steps=steps) for cell in line.cells["supervised"])
        return replace(line, cells=cells)

    def _round(self, seeds: Sequence[int]) -> Leaderboard:
        planned = self._planned(seeds)
        return run_locked(
            planned,
            self.out,
            make_executor=self.machine.make_executor,
            resume=True,
            threads=self.machine.threads,
            device=self.machine.device,
        )

    def _planned(self, seeds: Sequence[int]) -> Planned:
        """The plan of these seeds: made once, since the keys hash the sources of all packages."""
        known = (tuple(seeds), self.state.schedule is not None)
        if known not in self._plans:
            machine, every = self.machine, self.lines(seeds)
            self._plans[known] = keyed(
                SUITE, list(seeds), every, registry=machine.registry, device=machine.kind, threads=machine.threads
            )
        return self._plans[known]

    def _run_some(self, seeds: Sequence[int], wanted: Sequence[Cell]) -> None:
        """Run a few cells of a plan, which stay out of the report for now."""
        machine = self.machine
        keys = {cell.key({}) for cell in wanted}
        planned = self._planned(seeds)
        planned.plan.write(self.out)
        jobs = []
        for cell in planned.plan.cells():
            key = planned.plan.key(cell)
            record = self.store.read(key) if cell.key({}) in keys else None
            if cell.key({}) in keys and (record is None or record.status != "done"):
                around = planned.circumstances[key]
                jobs.append(
                    Job(key, cell, self.out, around, threads=machine.threads, device=machine.device, draw=cell.seed == seeds[0])
                )
        for outcome in machine.make_executor(self._measuring).run(jobs):
            if outcome.error:
                raise BenchmarkError(f"{outcome.job.cell.name}: {outcome.error}; its log is {outcome.job.log}.")

    def _measuring(self, job: Job) -> None:
        self.machine.say(f"  {job.cell.task}")

    def _record(self, line: Line, kind: str) -> Record:
        planned = self._planned((0,))
        cell = line.cells[kind][0]
        record = self.store.read(planned.plan.key(cell))
        if record is None or record.status == "failed":
            reason = record.error if record is not None else "no record"
            raise BenchmarkError(f"{cell.name} failed: {reason}")
        return record

    def _spent(self) -> float:
        return time.monotonic() - self.began

    def _put_in_order(self, done: int) -> None:
        """After an interruption: the report of the seeds that are whole, or of what there is of the first."""
        plan: Plan = self._planned(range(max(done, 1))).plan
        plan.write(self.out)
        write_report(self.out, plan, self.store)
        self.state = replace(self.state, spent=self._spent())
        self.state.write(self.out)

    def clean(self) -> None:
        """Delete what runs left, but for the encoders of the tasks' first seed."""
        keep = set(self._first_folders().values())
        for folder in (self.out / "cells").glob("*"):
            run = folder / "run"
            if folder not in keep:
                shutil.rmtree(run, ignore_errors=True)
            else:
                shutil.rmtree(run / "checkpoints", ignore_errors=True)

    def first_cells(self) -> dict[str, Cell]:
        """Benchmark to the cell of its task's first seed."""
        return {line.spec.id: line.cells["task"][0] for line in self.lines((0,))}

    def run_of(self, benchmark: str) -> Path:
        """The run of a task's first seed."""
        return self._first_folders()[benchmark] / "run"

    def _first_folders(self) -> dict[str, Path]:
        plan = self._planned((0,)).plan
        return {name: Job(plan.key(cell), cell, self.out, {}).folder for name, cell in self.first_cells().items()}
