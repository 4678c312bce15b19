"""Log metrics to TensorBoard, Weights & Biases and Trackio."""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.runtime.files import atomic_write


class Logger(Protocol):
    """What the target of a :class:`~selfsup.registry.specs.LoggerSpec` makes.

    It is called as ``Target(run_dir, config, start_step)`` on the main process: the run's folder, the resolved config as JSON
    values, and the step that the run starts or continues from.
    """

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Take the metrics of a step."""
        ...

    def close(self) -> None:
        """Write everything that is buffered. Called once."""
        ...


class TensorBoardLogger:
    """Event files in ``RUN/tensorboard``."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], start_step: int) -> None:
        tensorboard = importlib.import_module("torch.utils.tensorboard")
        # Hide what an interrupted run logged after the step that it continues from.
        purge = start_step + 1 if start_step else None
        self._writer = tensorboard.SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write one scalar per metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WandbLogger:
    """A Weights & Biases run with the name of the run's folder; a resumed run continues it."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], start_step: int) -> None:
        wandb = importlib.import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "selfsup"),
            name=run_dir.name,
            id=unique_name(run_dir),
            dir=str(run_dir),
            config=dict(config),
            resume="allow",
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send the metrics."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class TrackioLogger:
    """A trackio run with the name of the run's folder; a resumed run continues it."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], start_step: int) -> None:
        self._trackio = importlib.import_module("trackio")
        project = os.environ.get("TRACKIO_PROJECT", "selfsup")
        self._trackio.init(project=project, name=unique_name(run_dir), config=dict(config), resume="allow")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send the metrics."""
        self._trackio.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._trackio.finish()


def unique_name(run_dir: Path) -> str:
    """The folder's name and a random tag, kept in ``logger-name.txt`` so that a resumed run has the same name."""
    path = run_dir / "logger-name.txt"
    if not path.exists():
        atomic_write(path, f"{run_dir.name}-{secrets.token_hex(4)}")
    return path.read_text()


class Loggers:
    """All loggers of a run. A logger that fails is reported and removed; it does not end the run.

    Args:
        ids: registered ids.
        run_dir: the run's folder.
        config: the resolved config.
        start_step: step that the run starts or continues from.
        warn: shows a line to the user.
    """

    def __init__(
        self, ids: Sequence[str], run_dir: Path, config: Mapping[str, Any], start_step: int, warn: Callable[[str], None]
    ) -> None:
        self._warn = warn
        self._active: dict[str, Logger] = {}
        for id in ids:
            target = registry().load(registry().get("logger", id))
            self._active[id] = target(run_dir, config, start_step)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Pass the metrics to each logger."""
        for id, logger in list(self._active.items()):
            try:
                logger.log(metrics, step)
            except Exception as error:  # whatever a foreign service raises
                del self._active[id]
                self._warn(f"Warning: the logger {id} failed at step {step} and is left out from now on: {error}")

    def close(self) -> None:
        """Close each logger."""
        for id, logger in self._active.items():
            try:
                logger.close()
            except Exception as error:  # whatever a foreign service raises
                self._warn(f"Warning: the logger {id} could not be closed: {error}")
        self._active.clear()


def check_loggers(ids: Sequence[str]) -> None:
    """Refuse loggers that are unknown or not installed, before anything starts.

    Raises:
        UnknownIdError: no logger has that id.
        ConfigError: a package that a logger needs is not installed; the message says how to install it.
    """
    for id in ids:
        spec = registry().get("logger", id)
        missing = [name for name in spec.requires if importlib.util.find_spec(name) is None]
        if missing:
            install = spec.install or f"pip install {' '.join(missing)}"
            raise ConfigError(f"the logger {id!r} needs {', '.join(missing)}, which is not installed: {install}")
