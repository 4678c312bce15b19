"""Train a run's task: its stepper, its trainer and what observes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch

from selfsup.artifacts import RunDirectory
from selfsup.backbones import Backbone
from selfsup.data.batches.source import BatchSource
from selfsup.runtime import randomness
from selfsup.runtime.machine_load import LoadWatch
from selfsup.runtime.progress import Reporter
from selfsup.tasks import PretextTask
from selfsup.tasks.parts.moving_average import kept_initial_share
from selfsup.training.device.compile_trial import CompileTrial
from selfsup.training.device.fabric import Fabric
from selfsup.training.loop.checkpoint import LAST
from selfsup.training.loop.signals import StopRequest
from selfsup.training.loop.stepper import Stepper
from selfsup.training.loop.trainer import Pace, Trainer
from selfsup.training.observe.collapse_monitor import describe_initial_share
from selfsup.training.observe.journal import Journal
from selfsup.training.observe.learning_warnings import MetricWatch
from selfsup.training.observe.loggers import Loggers
from selfsup.training.observe.periodic_checks import Looks
from selfsup.training.run import setup
from selfsup.training.run.config import RunConfig
from selfsup.training.run.outcome import Status
from selfsup.training.run.prepare_rows import Data, prepare_probe
from selfsup.training.run.resume import first_settings

_LOOKS = 20
"""Most checks of the embeddings in a run, if the config does not set ``probe_every``."""


def build_stepper(task: PretextTask, config: RunConfig, fabric: Fabric, total: int, steps_per_epoch: int | None) -> Stepper:
    """The stepper of a run, with random generators seeded for this process."""
    generator = torch.Generator(fabric.device)
    seed = randomness.seed_of_rank(config.seed, fabric.global_rank)
    generator.manual_seed(seed)
    torch.manual_seed(seed)
    return Stepper(
        fabric,
        task,
        config.optimization,
        total_steps=total,
        warmup_steps=config.optimization.warmup_steps(steps_per_epoch),
        generator=generator,
    )


def checkpoint_identity(config: RunConfig, data: Data, info: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint must agree on to be of this run; it does not change when the run is extended or moved."""
    first = first_settings(config, info)
    return setup.identity(first, data.fingerprint, first.devices * first.nodes)


def look_every(total: int, rows: int, batch_size: int) -> int:
    """Steps between checks of the embeddings: a check reads at most as many rows as were trained on since the last one."""
    return max(total // _LOOKS, math.ceil(rows / batch_size))


def fit(
    stepper: Stepper,
    source: BatchSource,
    config: RunConfig,
    data: Data,
    directory: RunDirectory,
    identity: Mapping[str, Any],
    resume: bool,
    opened: Callable[[], None],
    reporter: Reporter,
    stop: StopRequest,
    trial: CompileTrial | None,
) -> Status:
    """Train until the budget is used or a stop is requested.

    Args:
        stepper: of the run.
        source: batches of this process.
        config: resolved in full.
        data: has the processor and the rows whose embeddings are checked.
        directory: the run's folder.
        identity: from :func:`checkpoint_identity`.
        resume: go on from the last checkpoint, if there is one.
        opened: is called once the checkpoint has been accepted; from then on ``stop`` takes signals.
        reporter: shows the progress.
        stop: holds requests to stop.
        trial: decides whether steps are compiled; None: no step is left to it.
    """
    fabric, total = stepper.fabric, stepper.total_steps
    main = fabric.global_rank == 0
    probe = prepare_probe(config, data.processor, reporter)
    looks = Looks(
        fabric,
        lambda: kept_backbone(stepper),
        data.processor,
        data.looked_at,
        total_steps=total,
        warn=reporter.message,
        probe=probe,
    )
    trainer = Trainer(
        fabric=fabric,
        stepper=stepper,
        source=source,
        pace=Pace(
            batch_size=config.optimization.batch_size,
            log_every=config.log_every,
            look_every=config.probe_every or look_every(total, looks.n_rows, config.optimization.batch_size),
            checkpoint_every=config.checkpoint_every,
            checkpoint_seconds=60 * config.checkpoint_minutes,
        ),
        checkpoints=directory.checkpoints,
        identity=identity,
        reporter=reporter,
        look=looks,
        watch=MetricWatch(total, reporter.message, streams=bool(config.stream)),
        load=LoadWatch(reporter.message) if fabric.device.type == "cpu" else None,
        take=None if trial is None else partial(trial.take, stepper),
    )
    warning = describe_initial_share(kept_initial_share(stepper.task, stepper.task.encoder_backbone(), total), total)
    if warning and main:
        reporter.message(warning)
    if resume and (directory.checkpoints / LAST).exists():
        trainer.restore()
    opened()
    if probe is not None and main:
        directory.update(val=probe[0].source)
    if not main:
        return trainer.fit(stop)
    directory.truncate_metrics(stepper.step if stepper.step else -1)
    resolved = config.model_dump(mode="json")
    loggers = Loggers(config.loggers, directory.path, resolved, stepper.step, reporter.message)
    trainer.journal = journal = Journal(directory.path, directory.log, loggers, reporter)
    status: Literal["done", "stopped", "failed"] = "failed"
    journal.started(resolved)
    try:
        status = trainer.fit(stop)
    finally:
        journal.ended(status)
    return status


def kept_backbone(stepper: Stepper) -> Backbone:
    """The backbone that a run saves: the moving average of its weights if it has one."""
    return stepper.task.encoder_backbone() if stepper.average is None else stepper.average.module
