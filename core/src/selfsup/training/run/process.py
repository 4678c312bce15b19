"""Run one process of a pretraining, from its config to its encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

from torch import nn

from selfsup.artifacts import Encoder, RunDirectory
from selfsup.artifacts.run_directory import RESTORE
from selfsup.data.batches.source import BatchSource, Share
from selfsup.data.store.cache_entries import note_use
from selfsup.errors import ConfigError, RunDirectoryError
from selfsup.runtime import device_name, randomness
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.distributed import convert_sync_batchnorm
from selfsup.runtime.file_lock import lock_folder, waiting_lock
from selfsup.runtime.files import storage_errors
from selfsup.runtime.precision import Precision
from selfsup.runtime.progress import Reporter, make_reporter
from selfsup.tasks import PretextTask
from selfsup.tasks.base import InputChange
from selfsup.tasks.joint_embedding.frozen_teacher import FrozenTeacher
from selfsup.training.device.compilation import compiling
from selfsup.training.device.devices import Devices, resolve_devices
from selfsup.training.device.fabric import Fabric
from selfsup.training.device.recompute import recomputing
from selfsup.training.device.tune import has_convolutions, tune_for_device
from selfsup.training.loop import sharding
from selfsup.training.loop.bf16_weights import store_in_bf16, store_in_float32
from selfsup.training.loop.signals import StopRequest
from selfsup.training.observe import messages
from selfsup.training.run import setup
from selfsup.training.run.config import RunConfig
from selfsup.training.run.fit import build_stepper, checkpoint_identity, fit, kept_backbone
from selfsup.training.run.initialization import Origin, keep_start, origin_of, processor_note, teacher_of, without_origin
from selfsup.training.run.launch import accept_requeue
from selfsup.training.run.outcome import begin, recorded
from selfsup.training.run.prepare_rows import Data
from selfsup.training.run.resume import continuation
from selfsup.training.run.streaming import learned_rows, prepare, settled


def execute(
    config: RunConfig,
    devices: Devices,
    out: Path,
    stop: StopRequest,
    *,
    resume: bool,
    progress: bool = True,
    source: Any = None,
) -> None:
    """Pretrain in this process, which may be one of several.

    Args:
        config: resolved in full.
        devices: what to compute on.
        out: the run's folder.
        stop: listens for requests to stop; holds the signal that ended the run early.
        resume: continue the run in ``out``, from its last checkpoint if there is one.
        progress: show progress on stderr.
        source: rows to use instead of ``config.data``.

    Raises:
        InUseError: another process writes into ``out``.
        SelfsupError: the run cannot start or continue.
    """
    with randomness.preserved(), stop.before_training():
        main = devices.rank == 0
        with (
            lock_folder(out, f"pretraining {config.task}") if main else nullcontext(),
            make_reporter(progress and main) as reporter,
            _told_if_interrupted(out, reporter),
        ):
            # Prepare before the processes form a group: a collective would time out, since preparation may take hours.
            if main:
                RunDirectory(out).remove_remains()
            # A stream does not take long to open: there one process lists the files for all.
            fabric = devices.connect() if config.stream else None
            with _one_at_a_time(config, devices):
                origin = origin_of(config, RunDirectory(out) if resume else None)
                data = prepare(config, reporter, source, origin)
            fabric = fabric or devices.connect()
            config = settled(config, data)
            # A checkpoint has the weights; the source of the initial weights may be gone.
            built = without_origin(config) if origin.resumed else config
            with _of_resumed(origin, out, built):
                task, _ = setup.build_task(built, data.info, origin)
            teacher = _teacher_record(task)
            taught = "" if teacher is None else f"The network learns from {teacher['source']}."
            notes = (processor_note(config, origin), *origin.messages, taught, setup.pretrained_note(built, task.backbone))
            for text in filter(None, notes if main else ()):
                reporter.message(text)
            with _of_resumed(origin, out, built, "The data have changed, or a file in it is damaged."):
                batches = _batches(task, config, data, fabric, reporter) if task.trains else None
            total = config.optimization.total_steps(batches.steps_per_epoch) if batches is not None else 0
            task = _place(task, config, fabric, devices.precision)
            if devices.bf16_weights and devices.strategy != "fsdp":
                store_in_bf16(task)
            continued = {}
            goes_on = resume and RunDirectory.is_run(out)
            if batches is not None and goes_on:
                continued = continuation(RunDirectory(out), config, batches.steps_per_epoch, device_name(fabric.device))
            directory = _open(config, out, goes_on, data, origin, teacher, fabric)
            if main:
                note_use(data.looked_at.path, out)
            with ExitStack() as listening, recorded(directory, fabric, begun=not goes_on) as outcome:

                def opened() -> None:
                    begin(outcome, directory, continued, fabric, reporter)
                    listening.enter_context(stop)  # until all is saved: a signal is often sent more than once

                backbone, root, step = task.encoder_backbone(), cast(nn.Module, task), 0
                if batches is not None and total:
                    stepper = build_stepper(task, config, fabric, total, batches.steps_per_epoch)
                    identity = checkpoint_identity(config, data, {**directory.info(), **continued})
                    compiles = compiling(
                        task,
                        config,
                        directory,
                        ragged=data.ragged,
                        total_steps=total,
                        device=fabric.device,
                        say=reporter.message,
                    )
                    recomputes = recomputing(task, config.optimization.checkpoint_activations)
                    with recomputes, compiles as trial:
                        outcome.status = fit(
                            stepper, batches, config, data, directory, identity, resume, opened, reporter, stop, trial
                        )
                    backbone, step = kept_backbone(stepper), stepper.step
                    root = stepper.average or task
                else:
                    opened()
                    if main:
                        reporter.message(messages.untrained(config, trains=task.trains))
                backbone = sharding.whole_part(
                    backbone, root, lambda: setup.build_task(without_origin(config), data.info)[0].backbone
                )
                store_in_float32(backbone)
                # Rows of all processes; an untrained network has learned from no row.
                seen = batches.seen() if batches is not None and step else None
                rows = data.pretraining_rows if step else data.pretraining_rows.none()
                if seen is not None:
                    rows = learned_rows(rows, seen)
                if main:
                    if seen is not None:
                        directory.update(read=dict(seen.about))
                    encoder = Encoder(
                        data.processor.unpacked(),
                        backbone,
                        backbone_id=config.backbone,
                        backbone_options=setup.full_backbone_options(config, backbone),
                        task=config.task,
                        metadata=_metadata(config, data, directory, step, total),
                        pretraining_rows=origin.together(rows),
                    )
                    encoder.save(directory.encoder)
                    if outcome.status == "stopped":
                        reporter.message(messages.stopped(directory, step, total))


def execute_as_worker(stop: StopRequest, *, config: dict[str, Any], out: str, resume: bool, progress: bool) -> int | None:
    """Pretrain as one of the processes of :func:`~selfsup.training.run.launch.run_processes`; see :func:`execute`.

    Returns:
        The signal that stopped the run early, or None.
    """
    with stop.before_training():
        accept_requeue()
        run = RunConfig.model_validate(config)
        execute(run, resolve_devices(run), Path(out), stop, resume=resume, progress=progress)
    return stop.signal


def _one_at_a_time(config: RunConfig, devices: Devices) -> AbstractContextManager[None]:
    """Let the first process of a machine make the store while the others wait for a lock file; a stream has no store."""
    if devices.processes == 1 or config.stream:
        return nullcontext()
    folder = cache_root()
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{config.task} {config.data}".encode()).hexdigest()[:16]
    return waiting_lock(folder / f"preparing-{key}.lock")


@contextmanager
def _of_resumed(origin: Origin, out: Path, config: RunConfig, cause: str = "A file in it is damaged.") -> Iterator[None]:
    """The options of a resumed run are its own, so if they do not fit its processor or its data, something has changed.

    A teacher lies elsewhere, and may be gone or another one.
    """
    try:
        yield
    except ConfigError as error:
        if not origin.resumed or teacher_of(config):
            raise
        raise RunDirectoryError(f"{out} cannot be resumed: {error} {cause} {RESTORE}") from error


@contextmanager
def _told_if_interrupted(out: Path, reporter: Reporter) -> Iterator[None]:
    """If Ctrl-C ends a run at once, say how to continue it."""
    try:
        yield
    except KeyboardInterrupt:
        text = messages.interrupted(RunDirectory(out))
        reporter.message(text)
        raise KeyboardInterrupt(text) from None


def _batches(task: PretextTask, config: RunConfig, data: Data, fabric: Fabric, reporter: Reporter) -> BatchSource:
    """The batches of a task, after a check that the batch size fits the data."""
    share = setup.check_batch(config.optimization, data.rows, fabric.world_size)
    # With an unknown number of rows, a queue keeps its length.
    note = "" if data.rows is None else task.fit_to_data(data.rows, config.optimization.batch_size)
    warning = setup.accumulation_warning(task, config, share)
    left_out = [part.note for part in task.modules() if isinstance(part, InputChange)]
    if fabric.global_rank == 0:
        for text in dict.fromkeys(filter(None, (note, *left_out, warning))):
            reporter.message(text)
    own = Share(
        share,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        device=fabric.device,
        seed=config.seed,
        whole=task.takes_whole,
    )
    return data.source(own)


def _metadata(config: RunConfig, data: Data, directory: RunDirectory, step: int, total: int) -> dict[str, Any]:
    """The metadata of an encoder: how it was trained."""
    held = directory.info()
    told: dict[str, str] = {}
    for field, name in (("init", "started_from"), ("teacher", "taught_by")):
        if field in held:
            told |= {name: held[field]["source"], f"{name}_weights": held[field]["weights"]}
    return {
        **told,
        "data": data.name,
        "fingerprint": data.fingerprint,
        "rows": data.rows,
        "holdout": config.holdout,
        "held_out": data.held_out,
        "steps": step,
        "of_steps": total,
        "batch_size": config.optimization.batch_size,
        "seed": config.seed,
    }


def _place(task: PretextTask, config: RunConfig, fabric: Fabric, precision: Precision) -> PretextTask:
    """Move a task to its device, with synchronised batch norm on several devices and the run's memory format."""
    if fabric.world_size > 1:
        convert_sync_batchnorm(task)
    if config.optimization.channels_last and not has_convolutions(task.backbone):
        raise ConfigError(
            f"optimization.channels_last has no effect: {config.backbone} has no 2-d or 3-d convolution. Leave it out."
        )
    order = config.optimization.channels_last
    if config.strategy == "fsdp":
        if order:
            raise ConfigError("optimization.channels_last=true: FSDP cannot spread weights in that order. Leave it out.")
        order = False
    tune_for_device(task, fabric.device, precision, channels_last=order)
    return task


def _teacher_record(task: PretextTask) -> dict[str, str] | None:
    """What ``run.json`` keeps of a task's frozen teacher; None: there is none."""
    found = [part for part in task.modules() if isinstance(part, FrozenTeacher)]
    return {"source": found[0].source, "weights": found[0].digest} if found else None


def _open(
    config: RunConfig,
    out: Path,
    goes_on: bool,
    data: Data,
    origin: Origin,
    teacher: dict[str, str] | None,
    fabric: Fabric,
) -> RunDirectory:
    """Open the run's folder; the first process creates it for a new run."""
    if fabric.global_rank == 0:
        if goes_on:
            run = RunDirectory.open(out, task=config.task)
            if (before := run.info().get("teacher")) != teacher:
                raise ConfigError(f"--resume needs the teacher that the run began with ({before}), and it is {teacher} now.")
        else:
            RunDirectory.create(
                out,
                task=config.task,
                config=config.model_dump(mode="json"),
                device=device_name(fabric.device),
                processes=fabric.world_size,
                seed=config.seed,
                data={
                    "name": data.name,
                    "fingerprint": data.fingerprint,
                    "rows": data.rows,
                    "held_out": data.held_out,
                },
                info=dict(data.info),
                found=data.findings.as_json(),
                **({} if origin.record is None else {"init": origin.record}),
                **({} if teacher is None else {"teacher": teacher}),
            )
        if not origin.resumed:  # or a run that was killed before its first checkpoint, perhaps while it wrote this
            keep_start(data.processor, origin, RunDirectory(out))
    fabric.barrier()
    return RunDirectory(out)
