"""``selfsup.pretrain``: pretrain an encoder on rows without labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfsup.artifacts import Encoder, RunDirectory, default_run_path, load
from selfsup.artifacts.run_directory import RESTORE
from selfsup.damaged_files import reading
from selfsup.data import TableFormat
from selfsup.errors import ConfigError, RunDirectoryError, RunError, SelfsupError, UnknownIdError
from selfsup.runtime.file_lock import check_not_in_use, lock_folder, lock_of
from selfsup.runtime.progress import make_reporter
from selfsup.training.device.devices import Devices, launched_outside, process_ranks, resolve_devices
from selfsup.training.loop.signals import StopRequest, requeue_job
from selfsup.training.observe.loggers import check_loggers
from selfsup.training.run.config import RunConfig
from selfsup.training.run.initialization import origin_of
from selfsup.training.run.launch import run_processes
from selfsup.training.run.process import execute
from selfsup.training.run.resolve import read_config_file, resolve_config, stored_config
from selfsup.training.run.resume import resume_config, same_budget
from selfsup.training.run.streaming import is_streamed, prepare
from selfsup.training.settings.overrides import join

_STOPPED_BY_SIGNAL = 128
"""What shells add to a signal's number."""


@dataclass(frozen=True)
class Run:
    """A finished pretraining."""

    dir: Path
    """Its folder."""
    config: RunConfig
    """Its config in full."""

    def __fspath__(self) -> str:
        """Its folder, so that whatever takes a path takes a run."""
        return os.fspath(self.dir)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that it left, in evaluation mode on the CPU."""
        return load(self.dir)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``: ``step``, ``loss``, ``lr``, ``samples_per_second``, ..."""
        return list(RunDirectory(self.dir).metrics())


def pretrain(
    task: str | None = None,
    data: Any = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    config: str | Path | Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Pretrain an encoder.

    ::

        run = selfsup.pretrain("vision/simclr", data="photos/", epochs=20)
        run = selfsup.pretrain("vision/simclr", data="photos/", steps=500, overrides={"objective.temperature": 0.2})
        run = selfsup.pretrain(out="runs/photos", resume=True)

    Args:
        task: id of the pretext task.
        data: a source: a data set's name, a path, ``hf://owner/name``, or an object that holds rows (an array, a list, a data
            frame, a data set of torch or of the hub; see :func:`selfsup.data.load_source`).
        out: the run's folder; None: ``runs/<modality>-<task>-<time>``.
        resume: continue the run in ``out`` from its last checkpoint, or start it if there is none. A larger ``epochs``,
            ``steps`` or ``max_steps`` extends the run, finished or not; all schedules then follow the new budget from its last
            step on. Other ``devices``, ``nodes`` or ``strategy`` continue with the same batches.
        config: a config file, a run's ``run.json``, or options as nested dictionaries; the other arguments override it.
        overrides: config keys to values, as for ``--set``; None is null.
        progress: show progress on stderr.
        **options: fields of :class:`~selfsup.training.RunConfig` (``backbone``, ``init``, ``val``, ``seed``, ``devices``, ...),
            and ``epochs``, ``steps``, ``max_steps``, ``batch_size`` and ``lr``; None: not given.

    Returns:
        The finished run.

    Raises:
        SelfsupError: the run cannot start or continue; the message says why.
        SystemExit: SIGTERM, SIGHUP or SIGUSR1 stopped the run; if it had begun to train, a checkpoint for ``resume`` was saved.
            The status is 128 plus the signal's number. After SIGUSR1 a Slurm job is put back into the queue, if ``resume`` is
            set. Or SIGTERM or SIGHUP came after the last step: the run is finished.
        KeyboardInterrupt: SIGINT (Ctrl-C) stopped the run; a checkpoint was saved. Or it came after the last step.
    """
    if not isinstance(options.get("val"), str | os.PathLike | None):
        raise ConfigError(
            f"val is the name or path of a source, not a {type(options['val']).__name__}: write the rows to a file, "
            "or evaluate the run."
        )
    options["init"] = _init_of(options.get("init"))
    source = None if data is None or isinstance(data, str | os.PathLike) else data
    if data is not None:
        options["data"] = os.fspath(data) if source is None else f"<{type(data).__name__}>"
    if options.get("table") is not None:
        options |= {f"table.{key}": value for key, value in TableFormat.of(options.pop("table")).given.items()}
    given = join(overrides or {}, {key: value for key, value in {**options, "task": task}.items() if value is not None})
    directory = RunDirectory(out) if out is not None else None
    if directory is not None and process_ranks()[0] == 0:  # the others may come when the first one holds the folder
        check_not_in_use(directory.path)
    resolved, finished = _resolve(given, config, directory, resume)
    if directory is not None and finished:
        if lock_of(directory.path).exists():  # of a process that was killed after its last step
            with suppress(SelfsupError):
                lock_folder(directory.path, f"pretraining {resolved.task}").release()
        with make_reporter(progress) as reporter:
            reporter.message(
                f"The run in {directory.path} is finished already; nothing is left to do. A larger budget (--epochs, --steps) "
                "trains it further."
            )
        return Run(directory.path, resolved)
    check_loggers(resolved.loggers)
    devices = resolve_devices(resolved)
    streamed, why = is_streamed(resolved, source)
    resolved = resolved.model_copy(update={"precision": devices.setting, "stream": streamed})
    if why:
        with make_reporter(progress) as reporter:
            reporter.message(why)
    claimed = directory is None and not launched_outside()
    if directory is None:
        directory = RunDirectory(default_run_path(resolved.task, claim=claimed))
    try:
        return _run(resolved, devices, directory, resume=resume, progress=progress, source=source)
    finally:
        if claimed:
            with suppress(OSError):  # it holds the run
                directory.path.rmdir()


def _init_of(given: Any) -> str | dict[str, str] | None:
    """Initial weights as texts: one path, or part names to paths.

    Raises:
        ConfigError: a value is no path.
    """
    if isinstance(given, Mapping):
        return {str(name): str(_init_of(source)) for name, source in given.items()}
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    if given is not None:
        raise ConfigError(f"init is a path, not a {type(given).__name__}: save the encoder first (encoder.save(DIR)).")
    return None


def _run(resolved: RunConfig, devices: Devices, directory: RunDirectory, *, resume: bool, progress: bool, source: Any) -> Run:
    stop = StopRequest()
    if devices.processes > 1 and not launched_outside():
        with stop.before_training():
            _run_processes(resolved, directory, stop, resume, progress, source)
    else:
        execute(resolved, devices, directory.path, stop, resume=resume, progress=progress, source=source)
    stopped = directory.status == "stopped"  # otherwise the signal came after the last step
    if stop.requeues and stopped and (text := requeue_job(resumes=resume)):
        with make_reporter(progress) as reporter:
            reporter.message(text)
    if stop.interrupted:
        go_on = f"The run stopped. Go on with: {directory.resume_command}"
        raise KeyboardInterrupt(go_on if stopped else f"The run in {directory.path} is finished.")
    if stop.signal is not None and (stopped or not stop.requeues):
        raise SystemExit(_STOPPED_BY_SIGNAL + stop.signal)
    return Run(directory.path, resolved)


def _resolve(
    given: Mapping[str, Any], config: str | Path | Mapping[str, Any] | None, directory: RunDirectory | None, resume: bool
) -> tuple[RunConfig, bool]:
    """The config of the run, and whether it is finished already."""
    if resume:
        if directory is None:
            raise ConfigError("a run to resume is named by its folder: give --out DIR beside --resume.")
        if RunDirectory.is_run(directory.path):
            if config is not None:
                raise ConfigError("--resume goes on with the config in the run's folder; leave --config out.")
            info = directory.info()
            _check_stored(directory, info["config"])
            goes_on = resume_config(info["config"], given, directory.path)
            return goes_on, info["status"] == "done" and same_budget(info["config"], goes_on)
        if not given.get("task") and config is None:
            raise RunDirectoryError(f"{directory.path} holds no run to resume. Check --out, or name a task and data.")
    if directory is not None:
        directory.check_free()
    base = read_config_file(Path(config)) if isinstance(config, str | os.PathLike) else config
    return resolve_config(given, base), False


def _check_stored(directory: RunDirectory, config: Mapping[str, Any]) -> None:
    """Refuse a stored config that is not valid, which is no fault of the options that are given.

    Raises:
        RunDirectoryError: it is not.
    """
    try:
        with reading(directory.run_file, RunDirectoryError, RESTORE):
            stored_config(config)
    except (ConfigError, UnknownIdError) as error:
        raise RunDirectoryError(
            f"{directory.run_file} holds options that are not allowed: {error} It is of a later version, or damaged. {RESTORE}"
        ) from error


def _run_processes(
    config: RunConfig, directory: RunDirectory, stop: StopRequest, resume: bool, progress: bool, source: Any
) -> None:
    if config.nodes > 1:
        raise ConfigError(
            f"nodes={config.nodes} needs a launcher that starts this command on each machine: srun, or "
            f"torchrun --nnodes {config.nodes} --nproc-per-node {config.devices} -m selfsup pretrain ..."
        )
    if source is not None:
        raise ConfigError("several devices read the data for themselves: give its name or path instead of rows.")
    with make_reporter(progress) as reporter:
        origin = origin_of(config, directory if resume else None)
        prepare(config, reporter, origin=origin)  # bad input fails here, before any process starts
    plan = {"config": config.model_dump(mode="json"), "out": str(directory.path), "resume": resume, "progress": progress}
    try:
        stopped_by = run_processes("selfsup.training.run.process:execute_as_worker", plan, config.devices, stop)
        stop.signal = stop.signal or stopped_by  # which may have reached these processes only
    except RunError as error:
        # A process that was killed writes nothing, and the others know only that it is gone.
        if type(error) is RunError and RunDirectory.is_run(directory.path) and directory.status in ("running", "failed"):
            directory.update(status="failed", error=str(error))
        raise
