"""Log a run: ``metrics.jsonl``, loggers, observers of plugins, and the progress display."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selfsup.registry import get_plugin_manager
from selfsup.runtime.progress import Reporter
from selfsup.training.observe.loggers import Loggers


class Journal:
    """What the main process writes down.

    Args:
        run_dir: the run's folder.
        write_line: appends a step's metrics to ``metrics.jsonl``.
        loggers: where metrics go besides.
        reporter: what a person sees.
    """

    def __init__(
        self, run_dir: Path, write_line: Callable[[int, Mapping[str, float]], None], loggers: Loggers, reporter: Reporter
    ) -> None:
        self._run_dir = run_dir
        self._write_line = write_line
        self._loggers = loggers
        self._reporter = reporter

    def started(self, config: Mapping[str, Any]) -> None:
        """The run begins or goes on."""
        self._observe("selfsup_run_started", config=dict(config))

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line of metrics; a value that is not finite is left out, since JSON has no word for it."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._write_line(step, finite)
        self._loggers.log(finite, step)
        self._observe("selfsup_step_logged", step=step, metrics=finite)
        self._reporter.metrics(step, finite)

    def checkpoint_saved(self, path: Path, step: int) -> None:
        """A checkpoint is on the disk."""
        self._observe("selfsup_checkpoint_saved", path=path, step=step)

    def ended(self, status: str) -> None:
        """The run is over, for now if ``stopped``."""
        self._loggers.close()
        self._observe("selfsup_run_ended", status=status)

    def _observe(self, hook: str, **values: Any) -> None:
        """Call the observers. One that fails is a fault of its plugin and does not end the run."""
        try:
            getattr(get_plugin_manager().hook, hook)(run_dir=self._run_dir, **values)
        except Exception as error:  # whatever a plugin raises
            self._reporter.message(f"Warning: an observer of {hook} failed: {type(error).__name__}: {error}")
