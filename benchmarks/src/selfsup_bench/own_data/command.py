"""``selfsup benchmark --data``: from the options to a recommendation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selfsup.artifacts import load
from selfsup.data import LabelKind
from selfsup.errors import ConfigError, RunDirectoryError, SelfsupError
from selfsup.runtime import lock_folder
from selfsup_bench.executors.base import Machine
from selfsup_bench.leaderboard.board import Leaderboard
from selfsup_bench.own_data.advice.advise import advise
from selfsup_bench.own_data.advice.next_steps import write_longer
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.own_data.budget import CONVERGED
from selfsup_bench.own_data.candidates import candidates
from selfsup_bench.own_data.rows.divide_rows import Divided, Limits, divide
from selfsup_bench.own_data.rows.guess_modality import guess_modality
from selfsup_bench.own_data.rows.read_rows import Reading
from selfsup_bench.own_data.state import FILE, State
from selfsup_bench.own_data.trial import Trial
from selfsup_bench.planning.plan import FILE as PLAN
from selfsup_bench.progress import duration
from selfsup_bench.runner import write_report

ENCODER = "encoder"
"""Folder of the best encoder, in that of the benchmark."""
MINUTES, PER_CLASS = 30.0, 10
"""The time, and labels a class, if nothing else is asked for."""
_DECODED = 24
"""Rows that are processed to see how long one takes."""
_DECODING = 0.15
"""Share of the time that decoding may take."""
_TASKS = ((4.0, 2), (10.0, 3))
"""With fewer minutes only the first tasks are tried, unless they are named: a pilot takes some seconds."""
_FEWEST = 500
"""Rows to pretrain on that are kept however long they take to decode."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked for; to go on with a benchmark, what is empty or None is as it was."""

    data: str = ""
    labelled: str = ""
    test: str = ""
    label: str | None = None
    label_kind: LabelKind | None = None
    unlabelled: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)
    modality: str | None = None
    minutes: float | None = None
    """None: :data:`MINUTES`."""
    names: tuple[str, ...] = ()
    per_class: int | None = None
    """None: :data:`PER_CLASS`."""

    def given(self) -> dict[str, Any]:
        """What names and reads the data, as JSON values."""
        return {
            "data": self.data,
            "labelled": self.labelled,
            "test": self.test,
            "label": self.label,
            "label_kind": self.label_kind,
            "unlabelled": list(self.unlabelled),
            "columns": dict(self.columns),
            "table": dict(self.table),
        }


def own_benchmark(
    asked: Asked | None, out: Path, machine: Machine, *, resume: bool = False
) -> tuple[Leaderboard, Recommendation]:
    """Find out whether pretraining is worth it on some data, and with which task.

    Args:
        asked: the data and the options; None goes on with those of ``out``.
        out: folder of the benchmark.
        machine: where cells run.
        resume: go on with the benchmark in ``out``, if there is one.

    Returns:
        The leaderboard, and what to do. ``out/encoder`` is the encoder of the best task.

    Raises:
        DataError: the data cannot be used, or has too few labels.
        RunDirectoryError: the folder holds something else.
        BenchmarkError: no task can be trained on the data.
        KeyboardInterrupt: Ctrl-C; the folder has a report of what there is, and ``resume`` goes on.
    """
    _check_folder(out, resume=resume)
    with lock_folder(out, "a benchmark of own data"):
        state = State.read(out) if resume else None
        if state is None:
            if asked is None or not asked.data:
                raise RunDirectoryError(f"{out} holds no benchmark of own data to go on with. Name the data with --data.")
            state = _decide(asked, out, machine)
        elif asked is not None:
            state = _as_asked(asked, state, out)
        specs = candidates(machine.registry, state.reading.modality, names=state.names, device=machine.kind)
        most = next((count for minutes, count in _TASKS if state.minutes < minutes), len(specs))
        if not state.names and len(specs) > most:
            machine.say(f"In {duration(60 * state.minutes)} only {', '.join(spec.task for spec in specs[:most])} are tried.")
            specs = specs[:most]
        show_division(state.divided, state.reading, machine.say)
        trial = Trial(state, specs, out, machine)
        try:
            trial.measure()
            tell_plan(trial, machine.say)
            trial.rounds()
        except KeyboardInterrupt:
            if (out / PLAN).is_file():  # else nothing has run
                conclude(trial)
            raise
        return conclude(trial)


def conclude(trial: Trial) -> tuple[Leaderboard, Recommendation]:
    """Keep the best encoder, and write the recommendation and the report."""
    out = trial.out
    board = write_report(out)
    if trial.state.schedule is None:
        advice = Recommendation(state="incomplete", sentence="There is no answer yet. Go on with --resume.", evidence=())
    else:
        advice = advise(board, trial.state, out=out, encoder=out / ENCODER)
        best = next((name for name, cell in trial.first_cells().items() if cell.task == advice.task), "")
        if best:
            run = trial.run_of(best)
            load(run / "encoder").save(out / ENCODER)
            write_longer(run, out, trial.state)
    advice.write(out)
    return replace(write_report(out), recommendation=advice), advice


def _check_folder(out: Path, *, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise RunDirectoryError(f"{out} is a file; give a folder with --out.")
    own = (out / FILE).is_file()
    if own or (out / PLAN).is_file():
        if not own:
            raise RunDirectoryError(f"{out} holds another benchmark, which is not of own data. Give another --out.")
        if not resume:
            raise RunDirectoryError(f"{out} holds a benchmark already. Go on with it by --resume, or give another --out.")
    elif out.is_dir() and any(out.iterdir()):
        raise RunDirectoryError(f"{out} holds something that is no benchmark. Give an empty or a new folder with --out.")


_OPTIONS = {"names": "--only", "per_class": "--labels-per-class", "columns": "--column"}
"""Options that are not called as the fields of :class:`Asked` are."""


def _as_asked(asked: Asked, state: State, out: Path) -> State:
    """The state of a benchmark that goes on, with the time that is now asked for.

    Raises:
        ConfigError: another option differs, or there is less time.
    """
    held = {
        **state.given,
        "modality": state.reading.modality,
        "names": list(state.names),
        "per_class": state.given.get("per_class") or PER_CLASS,
    }
    wanted = {**asked.given(), "modality": asked.modality, "names": list(asked.names), "per_class": asked.per_class}
    for key, value in wanted.items():
        if value and value != held.get(key):
            option = _OPTIONS.get(key, f"--{key.replace('_', '-')}")
            raise ConfigError(
                f"--resume goes on with the benchmark in {out}, whose {option} is {held.get(key)!r}, and not {value!r}. "
                "Leave it out, or give another --out."
            )
    before = max(state.minutes, state.extended)
    if asked.minutes is not None and asked.minutes < before:
        raise ConfigError(
            f"--resume goes on with the benchmark in {out}, whose --minutes are {before:g}. They can become more, for more "
            f"seeds, and not fewer. Leave --minutes out, or give another --out."
        )
    return state if asked.minutes is None else replace(state, extended=asked.minutes)


def _decide(asked: Asked, out: Path, machine: Machine) -> State:
    """Read the data once, and decide what does not depend on how fast tasks are."""
    began = time.monotonic()
    minutes = MINUTES if asked.minutes is None else asked.minutes
    modality = asked.modality
    if modality is None:
        modality, why = guess_modality(
            asked.data, label=None if asked.labelled else asked.label, table=asked.table, columns=asked.columns
        )
        machine.say(f"Modality: {modality}, since {why} (--modality says otherwise).")
    machine.registry.get("modality", modality)
    reading = Reading(
        data=asked.data,
        modality=modality,
        labelled=asked.labelled,
        test=asked.test,
        label=asked.label,
        label_kind=asked.label_kind,
        unlabelled=asked.unlabelled,
        columns=asked.columns,
        table=asked.table,
    ).absolute()
    candidates(machine.registry, modality, names=asked.names, device=machine.kind)  # a wrong name ends here
    limits = _limits(reading, minutes, machine)
    divided = divide(reading, wanted=asked.per_class or PER_CLASS, limits=limits)
    draws = 10 if minutes >= 3 else 5 if minutes >= 1 else 3
    state = State(
        reading=reading,
        given={**asked.given(), "per_class": asked.per_class},
        minutes=minutes,
        names=asked.names,
        divided=divided,
        draws=draws,
        scratch_parts=max(1, min(machine.jobs, draws)),
        spent=time.monotonic() - began,
    )
    state.write(out)
    return state


def _limits(reading: Reading, minutes: float, machine: Machine) -> Limits:
    """As many rows as can be decoded in a part of the time."""
    usual = Limits() if machine.kind == "cpu" else Limits(train=200_000, labelled=20_000, test=10_000)
    rows = reading.pretraining_rows().without_labels()
    sample = rows.select(range(min(_DECODED, len(rows))))
    kind = machine.registry.processor_class(reading.modality)
    try:
        processor = kind(kind.Config()).fit(sample)
        began = time.monotonic()
        processor(sample.read(range(len(sample))))
    except SelfsupError:  # a bad row, which is named where rows are decoded
        return usual
    each = (time.monotonic() - began) / len(sample)
    most = math.ceil(_DECODING * 60 * minutes * machine.jobs / max(each, 1e-7))
    return Limits(
        train=min(usual.train, max(_FEWEST, most)),
        labelled=min(usual.labelled, max(_FEWEST, most // 4)),
        test=min(usual.test, max(_FEWEST, most // 4)),
    )


def show_division(divided: Divided, reading: Reading, say: Callable[[str], None]) -> None:
    """What was found in the data."""
    say(f"Data: {reading.name}, {divided.rows:,} rows, {divided.labels:,} with a label ({divided.label}).")
    if divided.kind == "number":
        say("Labels: numbers; scores are R².")
    else:
        shown = ", ".join(divided.classes[:5]) + (", ..." if len(divided.classes) > 5 else "")
        several = ", several a row; scores are mAP" if divided.kind == "classes" else ""
        unequal = (
            "; their sizes differ much, so that scores are balanced accuracies" if divided.metric == "balanced_accuracy" else ""
        )
        say(f"Labels: {len(divided.classes)} classes ({shown}){several}{unequal}.")
    say(
        f"Pretraining on {divided.n_train:,} rows without their labels; {divided.n_labelled:,} labelled rows to draw few "
        f"labels from; tested on {divided.tested_on}, which no pretraining sees."
    )
    for note in divided.notes:
        say(note)


def tell_plan(trial: Trial, say: Callable[[str], None]) -> None:
    """What will be run, and how long it takes."""
    plan = trial.plan
    counts = sorted(set(plan.steps.values()))
    steps = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    tasks = f"{len(plan.steps)} task{'s' * (len(plan.steps) != 1)}"
    seeds = f"{plan.rounds} seed{'s' * (plan.rounds != 1)}"
    say(
        f"Plan: {tasks} x {seeds}, {steps} steps each (the same time for each task), and the references: about "
        f"{duration(plan.seconds)}. {trial.divided.per_class} labels a class, drawn {trial.state.draws} times."
    )
    state = trial.state
    draws = f" with {state.scratch_draws} of the draws" if state.scratch_draws < state.draws else ""
    if state.scratch_steps < CONVERGED:
        say(
            f"Training from scratch is cut to {state.scratch_steps} steps{draws}, of about {CONVERGED} to convergence, so that "
            f"pretraining cannot be recommended; with --minutes {math.ceil(state.enough)} it converges."
        )
    elif draws:
        say(f"Training from scratch runs{draws}; with more time it takes all.")
    dropped = [spec.task for spec in trial.specs if spec.id not in plan.steps and spec.id not in {**state.failed, **state.slow}]
    if dropped:
        say(f"Left out, since the time is short: {', '.join(dropped)}.")
    if plan.short:
        say(f"So few steps teach little; with --minutes {math.ceil(state.enough)} tasks would begin to learn.")
