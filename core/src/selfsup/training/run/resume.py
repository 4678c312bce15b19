"""Resume a run: check the options that may change, and record the changes in ``run.json``."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsup.artifacts import RunDirectory
from selfsup.errors import CheckpointError, ConfigError
from selfsup.training.loop.checkpoint import LAST, saved_step
from selfsup.training.run.config import RunConfig
from selfsup.training.run.resolve import stored_config

BUDGET = ("epochs", "steps", "max_steps")
"""Settings of the budget, which may change."""
PLACEMENT = ("devices", "nodes", "strategy", "accelerator")
"""Settings of the devices, which may change."""
_COMPILE = "optimization.compile"
"""May be turned off, so that a run goes on where the compiler fails."""
_SETTLED = ("precision", "streaming.split")
"""Settings whose ``auto`` was resolved at the start of the run."""
_DECIDE_BITS = (*PLACEMENT, "device", "compile")
"""Settings that the rounding of the weights depends on."""


def resume_config(stored: Mapping[str, Any], options: Mapping[str, Any], run_dir: Path) -> RunConfig:
    """The config of a resumed run: the stored one, with another budget, other devices or uncompiled if the options say so.

    All other options that are given again must have the stored values.

    Raises:
        CheckpointError: the folder holds a run of another task.
        ConfigError: an option differs from the stored one and may not change.
    """
    task = options.get("task")
    if task and task != stored.get("task"):
        raise CheckpointError(
            f"{run_dir} holds a run of {stored.get('task')}, whose checkpoints {task} cannot use: choose another folder "
            "(--out)."
        )
    again = {key: value for key, value in options.items() if not (key in _SETTLED and value == "auto")}
    old, config = stored_config(stored), stored_config(stored, again)
    free = {*PLACEMENT, *(f"optimization.{name}" for name in BUDGET)}
    changed = [
        f"{key} = {after!r} (but {before!r})"
        for key, before, after in _differences(old.model_dump(), config.model_dump())
        if key not in free and (key, after) != (_COMPILE, "off")
    ]
    if changed:
        raise ConfigError(
            f"--resume continues the run as it was started, and it was not started with {'; '.join(changed)}. Only the "
            f"budget ({', '.join(BUDGET)}) and the devices ({', '.join(PLACEMENT)}) can be changed, and {_COMPILE} be turned "
            "off: leave the other options out, or start a new run in another folder (--out)."
        )
    return config


def same_budget(stored: Mapping[str, Any], config: RunConfig) -> bool:
    """Whether a resumed run keeps its budget."""
    return _budget(stored_config(stored)) == _budget(config)


def continuation(run: RunDirectory, config: RunConfig, steps_per_epoch: int | None, device: str) -> dict[str, Any]:
    """New fields of ``run.json`` for a run that is resumed with another budget, on other devices or uncompiled; else empty.

    ``history`` has an entry for each stretch of the run: its first step, budget, devices and ``compile``. ``bit_identical`` is
    false once the devices or ``compile`` changed, since rounding, and on other devices the random views, then differ from those
    of an uninterrupted run.

    Args:
        run: its folder.
        config: what it goes on with.
        steps_per_epoch: optimizer steps of an epoch; None: that is not known.
        device: name of the device that it goes on with.

    Raises:
        ConfigError: the run has taken more steps than the new budget has.
        CheckpointError: the run is finished, and its last checkpoint is gone.
    """
    info = run.info()
    before = stored_config(info["config"])
    was, now = {**_settings(before), "device": info.get("device")}, {**_settings(config), "device": device}
    if was == now:
        return {}
    fields = {"config": config.model_dump(mode="json"), "processes": config.devices * config.nodes, "device": device}
    total, former = config.optimization.total_steps(steps_per_epoch), before.optimization.total_steps(steps_per_epoch)
    path = run.checkpoints / LAST
    if not path.exists():
        if info["status"] == "done" and former:
            raise CheckpointError(
                f"the run {run.path} is finished and its checkpoint {path} is gone, so it cannot be resumed. Start a new run "
                f"from its weights: --init {run.path}."
            )
        return fields  # nothing was trained with the former settings
    done = saved_step(path)
    if total < done:
        raise ConfigError(
            f"the budget is {total} steps, and the run {run.path} has taken {done} already. Give a larger one (--epochs, "
            f"--steps{', --max-steps' if config.optimization.max_steps else ''}), or start a new run in another folder (--out)."
        )
    # An older version did not record the compilation, which could not change then.
    history = [{"compile": was["compile"], **entry} for entry in info.get("history", [])]
    history = history or [{"from_step": 0, "total_steps": former, **was}]
    if len(history) > 1 and history[-1]["from_step"] == done:
        history = history[:-1]  # no step of that stretch was kept
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        **fields,
        "history": [*history, {"from_step": done, "total_steps": total, **now, "began": began}],
        "bit_identical": info.get("bit_identical", True) and all(history[-1][name] == now[name] for name in _DECIDE_BITS),
    }


def first_settings(config: RunConfig, info: Mapping[str, Any]) -> RunConfig:
    """A run's config with the settings that can change as it was started with, which its checkpoints are known by."""
    if not info.get("history"):
        return config
    first = info["history"][0]
    optimization = config.optimization.model_copy(update={name: first[name] for name in (*BUDGET, "compile") if name in first})
    return config.model_copy(update={"optimization": optimization, **{name: first[name] for name in PLACEMENT}})


def describe_continuation(history: Sequence[Mapping[str, Any]]) -> str:
    """A message about the last stretch of a run."""
    before, now = history[-2:]
    texts = [f"The run goes on from step {now['from_step']} of {now['total_steps']}."]
    if before["total_steps"] != now["total_steps"]:
        texts.append(
            f"Its budget was {before['total_steps']} steps: learning rate, momenta and all other schedules follow the "
            f"new budget from now on."
        )
    moved = [f"{name}={now[name]} (before: {before[name]})" for name in _DECIDE_BITS if before[name] != now[name]]
    if moved:
        texts.append(f"It is computed with {', '.join(moved)}: the batches stay the same, but rounding may differ.")
    return " ".join(texts)


def _budget(config: RunConfig) -> dict[str, Any]:
    return {name: getattr(config.optimization, name) for name in BUDGET}


def _settings(config: RunConfig) -> dict[str, Any]:
    placement = {name: getattr(config, name) for name in PLACEMENT}
    return _budget(config) | placement | {"compile": config.optimization.compile}


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix, old, new
