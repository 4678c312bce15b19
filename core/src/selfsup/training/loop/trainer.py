"""Train over epochs: logs, checks of the embeddings, checkpoints, and stops on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from selfsup.damaged_files import reading
from selfsup.data.batches.source import BatchSource
from selfsup.errors import CheckpointError, NonFiniteLossError
from selfsup.runtime import randomness
from selfsup.runtime.progress import Reporter
from selfsup.training.device.fabric import Fabric
from selfsup.training.loop.checkpoint import BEST, LAST, RESTORE, load_checkpoint, save_checkpoint
from selfsup.training.loop.sharded_checkpoint import remove_other_parts, write_parts
from selfsup.training.loop.signals import StopRequest
from selfsup.training.loop.stepper import Stepper
from selfsup.training.observe.journal import Journal
from selfsup.training.observe.online_probe import PROBE_METRICS
from selfsup.types import Batch

Look = Callable[[int], Mapping[str, float]]
"""Checks the embeddings at a step and returns metrics; it must not change the model or random state."""


@dataclass(frozen=True)
class Pace:
    """Intervals of logs, checks and checkpoints, in optimizer steps."""

    batch_size: int
    """Samples of a step over all devices."""
    log_every: int
    look_every: int
    checkpoint_every: int
    """0: only ``checkpoint_seconds`` decides."""
    checkpoint_seconds: float

    def logs_at(self, step: int, total: int) -> bool:
        """Whether a line of metrics is due after this step."""
        return step in (1, total) or step % self.log_every == 0 or self.looks_at(step, total)

    def looks_at(self, step: int, total: int) -> bool:
        """Whether a check of the embeddings is due after this step."""
        return step == total or step % self.look_every == 0


class Trainer:
    """Runs a stepper over batches.

    Args:
        fabric: the devices.
        stepper: runs a step.
        source: gives this device's share of the batches.
        pace: intervals.
        checkpoints: folder of the checkpoints.
        identity: what a checkpoint must agree on to belong to this run.
        reporter: shows the progress.
        look: checks the embeddings; all processes call it, and the first one gets the metrics.
        watch: checks each line of metrics, on the first process only.
        load: checks the machine's load at each line, on the first process only.
        take: takes a step on a batch; None: the stepper does.
    """

    def __init__(
        self,
        *,
        fabric: Fabric,
        stepper: Stepper,
        source: BatchSource,
        pace: Pace,
        checkpoints: Path,
        identity: Mapping[str, Any],
        reporter: Reporter,
        look: Look,
        watch: Callable[[int, Mapping[str, float]], None],
        load: Callable[[], None] | None = None,
        take: Callable[[Batch], None] | None = None,
    ) -> None:
        self.fabric, self.stepper, self.source, self.pace = fabric, stepper, source, pace
        self.checkpoints, self.identity = checkpoints, identity
        self.reporter, self.look, self.watch, self.load = reporter, look, watch, load
        self.take = take or stepper.take
        self.journal: Journal | None = None
        """Set on the first process only: it receives the events of the run."""
        self._unlogged: list[float] = []
        self._best: float | None = None
        self._saved_at = -1
        self._waited = 0.0
        self._asked = False

    def restore(self) -> int:
        """Resume from the last checkpoint; returns its step.

        On the same number and kind of devices, the random state is restored; otherwise new generators are seeded.

        Raises:
            CheckpointError: it is damaged or of another run.
        """
        path = self.checkpoints / LAST
        state = load_checkpoint(path, self.identity)
        with reading(path, CheckpointError, f"It is of another version or damaged: {RESTORE}"):
            self._restore(state)
        return self.stepper.step

    def _restore(self, state: dict[str, Any]) -> None:
        parts = state.get("parts")
        self.source.load_state_dict(state["source"])  # first: it may refuse
        self.stepper.load_state_dict(state["stepper"], None if parts is None else self.checkpoints / parts)
        if self.fabric.global_rank == 0:
            remove_other_parts(self.checkpoints, parts)  # of a checkpoint that was not completed
        self._unlogged, self._best = state["unlogged"], state["best"]
        generator, states = self.stepper.generator, state["random"]
        if len(states) == self.fabric.world_size and randomness.is_of(states[0], generator):
            randomness.set_state(states[self.fabric.global_rank], generator)
        else:
            randomness.start_anew(generator, self.stepper.step)
        self._saved_at = self.stepper.step

    def fit(self, stop: StopRequest) -> Literal["done", "stopped"]:
        """Train to the end or until asked to stop, and write a checkpoint.

        Raises:
            NonFiniteLossError: the loss became NaN or infinite. No checkpoint is written; earlier ones stay.
            StorageError: the disk is full. The previous checkpoint stays.
        """
        stepper, total = self.stepper, self.stepper.total_steps
        self.reporter.start("pretraining", total, stepper.step)
        if stepper.step == 0:
            self._record(self._looked(0))
        self._mark_time()
        self._checkpoint_time = time.monotonic()
        try:
            while stepper.step < total:
                if self._epoch(stop):
                    self._save()
                    return "stopped"
            if self._saved_at != stepper.step:
                self._save()
        except NonFiniteLossError as error:
            kept = self.checkpoints / LAST
            hint = (
                f"The last good checkpoint is kept: {kept}." if kept.exists() else "No checkpoint had been written before it."
            )
            raise NonFiniteLossError(f"{error} {hint}") from None
        return "done"

    def _epoch(self, stop: StopRequest) -> bool:
        """Train on the rest of an epoch; True if asked to stop."""
        stepper, pace, total = self.stepper, self.pace, self.stepper.total_steps
        alone = self.fabric.world_size == 1
        with closing(self.source.batches()) as batches:
            for batch in self._given(batches, stop):
                self.take(batch)
                step = stepper.step
                asked = alone and stop.signal is not None
                due = pace.checkpoint_every > 0 and step % pace.checkpoint_every == 0
                if pace.logs_at(step, total):
                    self._log()
                    late = time.monotonic() - self._checkpoint_time > pace.checkpoint_seconds
                    number, agreed = self._agree(stop.signal or 0, late)
                    due = due or bool(agreed)
                    if number:  # the signal may have reached one process only
                        stop.signal, asked = int(number), True
                self.reporter.advance(step)
                if asked:
                    return True
                if due and step < total:
                    self._save()
                if step == total:
                    return False
        return self._asked or (alone and stop.signal is not None)

    def _given(self, batches: Iterable[Batch], stop: StopRequest) -> Iterator[Batch]:
        """The batches; after a request to stop, an error in reading the next one ends them, so that the run still saves.

        Whatever stops a job often also ends the source of its batches. Of several processes, all must have learned of the error
        (:attr:`BatchSource.failed_together`), and one of them of the request.
        """
        given = iter(batches)
        try:
            while True:
                began = time.perf_counter()
                batch = next(given, None)
                self._waited += time.perf_counter() - began
                if batch is None:
                    return
                yield batch
        except Exception as error:
            if self.fabric.world_size > 1 and not self.source.failed_together:
                raise
            (number,) = self._agree(stop.signal or 0)
            if not number:
                raise
            stop.signal, self._asked = int(number), True
            self.reporter.message(f"Warning: the next batch cannot be read, and the run was asked to stop: {error}")

    def _log(self) -> None:
        stepper = self.stepper
        self._drain()
        seconds = time.perf_counter() - self._began
        metrics = {name: value.detach() for name, value in stepper.metrics.items()}
        record = {
            "epoch": self.source.epoch + 1,
            "loss": sum(self._unlogged) / len(self._unlogged),
            "lr": stepper.last_lr,
            "samples_per_second": (stepper.step - self._began_at) * self.pace.batch_size / max(seconds, 1e-9),
            "data_wait": self._waited / max(seconds, 1e-9),
            **{name: float(value) for name, value in metrics.items()},
        }
        if stepper.config.weight_decay_end is not None:
            record["weight_decay"] = stepper.last_weight_decay
        self._unlogged = []
        if self.pace.looks_at(stepper.step, stepper.total_steps):
            stepper.check_weights()
            record |= self._looked(stepper.step)
            self._keep_if_best(next((record[name] for name in PROBE_METRICS.values() if name in record), None))
        self._record(record)
        self._mark_time()

    def _looked(self, step: int) -> dict[str, float]:
        """Metrics of a check of the embeddings, on the first process; all of them compute."""
        with self.stepper.gathered():
            return dict(self.look(step))

    def _keep_if_best(self, probe: float | None) -> None:
        """Save the weights if the validation probe has its best score so far.

        Args:
            probe: its score at this step, on the first process; None: there is no probe.
        """
        better = probe is not None and (self._best is None or probe > self._best)
        better = bool(*self._agree(better))
        if not better:
            return
        weights = self.stepper.weights()  # all processes together
        if self.journal is not None:
            self._best = probe
            save_checkpoint(self.checkpoints / BEST, {"stepper": weights, "probe": probe}, self.identity)

    def _record(self, metrics: Mapping[str, float]) -> None:
        if self.journal is not None and metrics:
            self.journal.record(self.stepper.step, metrics)
            self.watch(self.stepper.step, metrics)
            if self.load is not None:
                self.load()

    def _drain(self) -> None:
        self._unlogged += self.stepper.drain()

    def _mark_time(self) -> None:
        """Measure speed from now on, without checks and checkpoints."""
        self._began, self._began_at, self._waited = time.perf_counter(), self.stepper.step, 0.0

    def _agree(self, *wanted: float) -> tuple[float, ...]:
        """The maximum of each value over all processes, so that all act at the same step."""
        if self.fabric.world_size == 1:
            return wanted
        wishes = torch.tensor(wanted, dtype=torch.float32, device=self.fabric.device)
        torch.distributed.all_reduce(wishes, op=torch.distributed.ReduceOp.MAX)
        return tuple(wishes.tolist())

    def _save(self) -> None:
        """Write the last checkpoint."""
        self._drain()
        self.stepper.check_weights()
        stepper = self.stepper.state_dict()
        parts = write_parts(self.checkpoints, self.stepper.step, stepper.pop("spread"))
        state = {
            "parts": parts,
            "stepper": stepper,
            "source": self._of_all(self.source.state_dict()),
            "random": self._of_all(randomness.get_state(self.stepper.generator)),
            "unlogged": self._unlogged,
            "best": self._best,
        }
        if self.journal is not None:
            path = self.checkpoints / LAST
            save_checkpoint(path, state, self.identity)
            remove_other_parts(self.checkpoints, parts)
            self.journal.checkpoint_saved(path, self.stepper.step)
        self._saved_at = self.stepper.step
        self._checkpoint_time = time.monotonic()
        self._mark_time()

    def _of_all(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        """The values of all processes, by rank."""
        if self.fabric.world_size == 1:
            return [own]
        states: list[dict[str, Any]] = [{}] * self.fabric.world_size
        torch.distributed.all_gather_object(states, own)
        return states
