"""Show progress: a live bar on a terminal, plain lines elsewhere; on stderr, at most twice a second."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Self, TextIO, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from selfsup.errors import DataWarning, printable
from selfsup.runtime.decoder_output import Screen
from selfsup.runtime.findings import Findings

_REFRESH_SECONDS = 0.5
"""A refresh takes milliseconds from training, so there is no thread and no faster rate."""
_LINE_SECONDS = 10.0


class Reporter:
    """Shows the progress of a run; this base class shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, what: str, total: int, done: int = 0, unit: str = "steps") -> None:
        """Begin a part of the run, such as decoding or training."""

    def advance(self, done: int) -> None:
        """Report how much of the part is done. Called at every step, so it usually returns at once."""

    def metrics(self, done: int, values: Mapping[str, float]) -> None:
        """Report the newest numbers, at ``done``."""

    def message(self, text: str) -> None:
        """Show a permanent line."""


class Silent(Reporter):
    """Shows nothing: for ranks other than the first, and for ``progress=False``."""


class Lines(Reporter):
    """Plain lines for logs and pipes: the first and the last numbers, and at most one line in ten seconds between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what, self._unit = "", "steps"
        self._total = self._done = self._first = 0
        self._began = self._shown = 0.0
        self._values: dict[str, float] = {}
        self._fresh = False

    def __exit__(self, *_: object) -> None:
        self._flush()

    def start(self, what: str, total: int, done: int = 0, unit: str = "steps") -> None:
        """Begin a part; its name appears with the first numbers."""
        self._flush()
        self._what, self._total, self._done, self._first, self._unit = what, total, done, done, unit
        self._began, self._shown, self._values = time.monotonic(), 0.0, {}

    def advance(self, done: int) -> None:
        """Remember the step, and show a line if it is time."""
        self._done, self._fresh = done, True
        if self._shown and time.monotonic() - self._shown >= _LINE_SECONDS:
            self._show()

    def metrics(self, done: int, values: Mapping[str, float]) -> None:
        """Remember the numbers, and show a line if it is time."""
        self._values.update(values)
        self._done, self._fresh = done, True
        if time.monotonic() - self._shown >= _LINE_SECONDS:
            self._show()

    def message(self, text: str) -> None:
        """Print a line."""
        self._console.print(printable(text), markup=False, soft_wrap=True)

    def _flush(self) -> None:
        if self._fresh:
            self._show()

    def _show(self) -> None:
        self._shown, self._fresh = time.monotonic(), False
        left = time_left(self._shown - self._began, self._done - self._first, self._total - self._done)
        parts = [f"{self._what} {self._done}/{self._total} {self._unit}", *shown_metrics(self._values), left]
        self.message("  ".join(part for part in parts if part))


class Bar(Reporter):
    """A live bar for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            auto_refresh=False,
        )
        self._task: TaskID | None = None
        self._total = self._first = 0
        self._began = self._shown = 0.0
        self._values: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._progress.refresh()
        self._progress.stop()

    def start(self, what: str, total: int, done: int = 0, unit: str = "steps") -> None:
        """Add a bar for this part."""
        if self._task is not None:
            self._progress.refresh()
        self._task = self._progress.add_task(escape(what), total=total, completed=done, numbers="")
        self._total, self._first = total, done
        self._began, self._shown, self._values = time.monotonic(), 0.0, {}

    def advance(self, done: int) -> None:
        """Move the bar, if it is time."""
        now = time.monotonic()
        if self._task is None or (now - self._shown < _REFRESH_SECONDS and done < self._total):
            return
        self._shown = now
        left = time_left(now - self._began, done - self._first, self._total - done)
        numbers = "  ".join(part for part in (*shown_metrics(self._values), left) if part)
        self._progress.update(self._task, completed=done, numbers=escape(numbers))
        self._progress.refresh()

    def metrics(self, done: int, values: Mapping[str, float]) -> None:
        """Remember the numbers for the next refresh."""
        self._values.update(values)

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(printable(text), markup=False, soft_wrap=True)


def make_reporter(enabled: bool = True) -> Reporter:
    """A reporter for stderr: a bar on a terminal, lines elsewhere, nothing unless ``enabled``."""
    if not enabled:
        return Silent()
    console = Console(file=cast(TextIO, Screen(sys.stderr)), highlight=False)
    return Bar(console) if console.is_terminal else Lines(console)


def tell_bad_rows(reporter: Reporter, bad_rows: Sequence[tuple[int, str]], of: str) -> None:
    """Report how many rows are left out, with the reasons of the first three.

    Args:
        reporter: shows a line; a silent one gives a :class:`~selfsup.errors.DataWarning` instead.
        bad_rows: index and reason (:attr:`selfsup.data.Store.bad_rows`).
        of: the rows, for the line: ``400 rows of photos``.
    """
    if bad_rows:
        named = "; ".join(reason.rstrip(".") for _, reason in bad_rows[:3])
        more = f"; and {len(bad_rows) - 3} more" if len(bad_rows) > 3 else ""
        _warn(reporter, f"{len(bad_rows)} of the {of} are left out: {named}{more}.")


def tell_remarks(reporter: Reporter, remarks: Mapping[str, int], of: str) -> None:
    """Report the remarks of a processor on usable rows, like :func:`tell_bad_rows`.

    ``remarks`` maps a text to a number of rows (:attr:`selfsup.data.Store.remarks`).
    """
    for text, count in remarks.items():
        _warn(reporter, f"{count} of the {of}: {text}.")


def _warn(reporter: Reporter, line: str) -> None:
    if isinstance(reporter, Silent):
        warnings.warn(line, DataWarning, stacklevel=5)
    reporter.message(f"Warning: {line}")


def show_findings(reporter: Reporter, title: str, findings: Findings) -> None:
    """Show findings about the data: a line per fact, then the warnings.

    A silent reporter gives a :class:`~selfsup.errors.DataWarning` for each warning instead.
    """
    for line in findings.lines(title):
        reporter.message(line)
    if isinstance(reporter, Silent):
        for text in findings.warnings:
            warnings.warn(text, DataWarning, stacklevel=4)


def shown_metrics(values: Mapping[str, float]) -> list[str]:
    """The main numbers for a line: loss, probe, speed."""
    parts = []
    if "loss" in values:
        parts.append(f"loss {values['loss']:.4g}")
    if "probe_accuracy" in values:
        parts.append(f"probe {100 * values['probe_accuracy']:.1f} %")
    if "probe_map" in values:
        parts.append(f"probe mAP {100 * values['probe_map']:.1f} %")
    if "probe_r2" in values:
        parts.append(f"probe R² {values['probe_r2']:.3f}")
    if "samples_per_second" in values:
        parts.append(f"{values['samples_per_second']:,.0f} samples/s")
    return parts


def time_left(seconds: float, done: int, left: int) -> str:
    """Estimated time of the rest; empty if nothing is left or no estimate is possible."""
    if done <= 0 or left <= 0 or seconds <= 0:
        return ""
    rest = int(seconds / done * left)
    hours, minutes = divmod(rest // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min left"
    return f"{minutes} min {rest % 60:02d} s left" if minutes else f"{rest} s left"
