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
    """Passes the events of a run on: metrics, checkpoints, begin and end. Used by the main process."""

    def __init__(
        self, run_dir: Path, write_line: Callable[[int, Mapping[str, float]], None], loggers: Loggers, reporter: Reporter
    ) -> None:
        self._run_dir = run_dir
        self._write_line = write_line
        self._loggers = loggers
        self._reporter = reporter

    def started(self, config: Mapping[str, Any]) -> None:
        """The run starts or continues."""
        self._observe("selfsup_run_started", config=dict(config))

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line of metrics; values that are not finite are left out, since JSON cannot hold them."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._write_line(step, finite)
        self._loggers.log(finite, step)
        self._observe("selfsup_step_logged", step=step, metrics=finite)
        self._reporter.metrics(step, finite)

    def checkpoint_saved(self, path: Path, step: int) -> None:
        """A checkpoint is on the disk."""
        self._observe("selfsup_checkpoint_saved", path=path, step=step)

    def ended(self, status: str) -> None:
        """The run has ended; ``stopped`` runs can be resumed."""
        self._loggers.close()
        self._observe("selfsup_run_ended", status=status)

    def _observe(self, hook: str, **values: Any) -> None:
        """Call the observers of plugins; a failure is reported and does not end the run."""
        try:
            getattr(get_plugin_manager().hook, hook)(run_dir=self._run_dir, **values)
        except Exception as error:  # whatever a plugin raises
            self._reporter.message(f"Warning: an observer of {hook} failed: {type(error).__name__}: {error}")
