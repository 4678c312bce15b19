"""The layout of a run's folder."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import shlex
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfsup.damaged_files import parse_json, read_json
from selfsup.errors import DataWarning, RunDirectoryError
from selfsup.runtime.environment import environment
from selfsup.runtime.files import atomic_write, storage_errors, utc_now
from selfsup.runtime.temporary_files import is_temporary, remove_remains

RUN_FILE = "run.json"
FORMAT_VERSION = 1
RESTORE = "Restore it from a copy, or start a new run in another folder (--out)."
_KINDS: Mapping[str, type] = {
    "task": str,
    "status": str,
    "config": dict,
    "data": dict,
    "info": dict,
    "history": list,
}
"""Fields of ``run.json`` and the kind of their values, where they are present."""
_NEEDED = ("task", "status", "config")


class RunDirectory:
    """``run.json``, ``metrics.jsonl``, ``checkpoints/``, ``encoder/`` and ``results/`` of one pretraining."""

    def __init__(self, path: str | Path) -> None:
        """Take a folder without reading it; use :meth:`create` or :meth:`open`."""
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @property
    def run_file(self) -> Path:
        """Config, versions, data and status."""
        return self.path / RUN_FILE

    @property
    def metrics_file(self) -> Path:
        """One JSON line per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def encoder(self) -> Path:
        """Folder of the encoder, which exists once the run is done."""
        return self.path / "encoder"

    @property
    def start(self) -> Path:
        """Folder of data that a resumed run needs: its processor, and the pretraining rows of an initial encoder."""
        return self.path / "start"

    @property
    def results(self) -> Path:
        """Folder of the result records."""
        return self.path / "results"

    @property
    def resume_command(self) -> str:
        """The command that resumes the run; its folder holds all options."""
        config = self.info().get("config", {})
        if str(config.get("data", "")).startswith("<"):
            return f"selfsup.pretrain(data=ROWS, out={str(self.path)!r}, resume=True) with the same rows."
        command = f"selfsup pretrain --resume --out {shlex.quote(str(self.path))}"
        return (
            command if config.get("nodes", 1) == 1 else f"{command} (start it on each machine by srun or torchrun, as before)"
        )

    @classmethod
    def create(cls, path: str | Path, *, task: str, config: Mapping[str, Any], **fields: Any) -> RunDirectory:
        """Make the folder of a new run, with status ``running``.

        Args:
            path: a folder that does not exist or is empty.
            task: id of the pretext task.
            config: the resolved config, as JSON values.
            fields: what else ``run.json`` holds (seed, data, fingerprint, device).

        Raises:
            RunDirectoryError: the folder holds a run or something else.
            StorageError: it cannot be written.
        """
        run = cls(path)
        run.check_free()
        with storage_errors(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
        run._write(
            {
                "format_version": FORMAT_VERSION,
                "task": task,
                "status": "running",
                "created": utc_now(),
                "config": dict(config),
                "environment": environment(),
                **fields,
            }
        )
        return run

    def check_free(self) -> None:
        """Make sure that a new run can use this folder, before it spends hours on its data. No process must be writing to it.

        Raises:
            RunDirectoryError: it holds a run, or something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"{self.path} is a file; a run needs a folder. Choose another with --out.")
        if self.run_file.exists():
            held = self.info()
            gone = ", but its process is gone" if held.get("status") == "running" else ""
            raise RunDirectoryError(
                f"{self.path} holds a run of {held.get('task')} (status {held.get('status')}{gone}). "
                "Continue it with --resume, or choose another folder with --out."
            )
        items = self.path.iterdir() if self.path.is_dir() else ()
        if other := next((item.name for item in items if not is_temporary(item)), None):  # a killed process may have begun
            raise RunDirectoryError(f"{self.path} is no run and not empty (it holds {other!r}). Choose another with --out.")

    @classmethod
    def open(cls, path: str | Path, *, task: str | None = None) -> RunDirectory:
        """Open the folder of an existing run.

        Args:
            path: the folder.
            task: id of its task; None: any.

        Raises:
            RunDirectoryError: there is no run, it cannot be read, is of another task or of a later selfsup.
        """
        run = cls(path)
        held = run.info()
        if task is not None and held.get("task") != task:
            raise RunDirectoryError(f"{run.path} holds a run of {held.get('task')}, not of {task}. Choose another with --out.")
        return run

    @classmethod
    def is_run(cls, path: str | Path) -> bool:
        """Whether a folder holds a run."""
        return (Path(path) / RUN_FILE).is_file()

    def info(self) -> dict[str, Any]:
        """The content of ``run.json``.

        Raises:
            RunDirectoryError: it does not exist, is damaged, or of a later selfsup.
        """
        try:
            held = read_json(self.run_file)
        except FileNotFoundError:
            raise RunDirectoryError(f"{self.path} holds no run: there is no {RUN_FILE} in it.") from None
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"Cannot read {self.run_file}: {error}. {RESTORE}") from error
        if not isinstance(held, dict) or not isinstance(held.get("format_version"), int):
            raise RunDirectoryError(f"{self.run_file} is not of selfsup: it has no format_version.")
        if held["format_version"] > FORMAT_VERSION:
            raise RunDirectoryError(
                f"{self.path} was written by a later selfsup (run format {held['format_version']}; this one reads up to "
                f"{FORMAT_VERSION}). Update selfsup."
            )
        for key, kind in _KINDS.items():
            if not isinstance(held.get(key, kind()), kind):
                raise RunDirectoryError(f"{self.run_file} is damaged: its {key} is {str(held[key])[:60]!r}. {RESTORE}")
        if missing := [key for key in _NEEDED if key not in held]:
            raise RunDirectoryError(f"{self.run_file} is damaged: it lacks {', '.join(missing)}. {RESTORE}")
        return held

    def update(self, **fields: Any) -> None:
        """Set fields of ``run.json``, in one atomic write."""
        self._write({**self.info(), **fields, "updated": utc_now()})

    def remove_remains(self) -> None:
        """Remove the temporary files that killed processes left; only for who holds the folder's lock."""
        for name in (RUN_FILE, self.metrics_file.name, self.encoder.name, self.start.name):
            remove_remains(self.path, name, any_machine=True)
        remove_remains(self.checkpoints, any_machine=True)

    @property
    def status(self) -> str:
        """``running``, ``done``, ``stopped`` or ``failed``."""
        return str(self.info()["status"])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line to ``metrics.jsonl``, with null for infinite values and NaN, which JSON lacks."""
        line = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        with storage_errors(self.metrics_file), self.metrics_file.open("a") as file:
            file.write(json.dumps({"step": step, **line}) + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The logged lines, without a last line that a crash cut off.

        Raises:
            RunDirectoryError: a line is damaged.
        """
        if self.metrics_file.exists():
            for number, text in enumerate(self._metric_lines(), 1):
                yield self._metrics_of(text, number)

    def _metric_lines(self) -> Iterator[str]:
        with self.metrics_file.open(encoding="utf-8", errors="replace") as file:
            yield from itertools.takewhile(lambda text: text.endswith("\n"), file)

    def _metrics_of(self, text: str, number: int) -> dict[str, Any]:
        try:
            values = parse_json(text)
        except ValueError:
            values = None
        if not isinstance(values, dict) or not isinstance(values.get("step"), int):
            raise RunDirectoryError(
                f"{self.metrics_file} is damaged: line {number} is {text[:60]!r}, and no object with a step. Remove this line: "
                "only what it logged is lost."
            )
        return values

    def truncate_metrics(self, step: int) -> None:
        """Drop the lines after ``step``, which a resumed run writes again, and lines that cannot be read, with a warning."""
        if not self.metrics_file.exists():
            return
        kept, damaged = list[dict[str, Any]](), 0
        for number, text in enumerate(self._metric_lines(), 1):
            try:
                values = self._metrics_of(text, number)
            except RunDirectoryError:
                damaged += 1
                continue
            if values["step"] <= step:
                kept.append(values)
        atomic_write(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))
        if damaged:
            lines = "A damaged line was" if damaged == 1 else f"{damaged} damaged lines were"
            warnings.warn(f"{lines} removed from {self.metrics_file}: what it logged is lost.", DataWarning, stacklevel=2)

    def _write(self, content: Mapping[str, Any]) -> None:
        atomic_write(self.run_file, json.dumps(content, indent=2) + "\n")


def default_run_path(task: str, base: str | Path = "runs", *, claim: bool = False) -> Path:
    """``runs/<modality>-<task>-<time>``, with a number appended if it exists.

    Args:
        task: id of the task.
        base: folder of all runs.
        claim: make the folder, so that two runs that start in the same second get different ones.

    Raises:
        StorageError: the folder cannot be made.
    """
    stem = f"{task.replace('/', '-')}-{datetime.datetime.now().astimezone():%Y%m%d-%H%M%S}"
    path, number = Path(base) / stem, 2
    while path.exists() or (claim and not _made(path)):
        path, number = Path(base) / f"{stem}-{number}", number + 1
    return path


def _made(path: Path) -> bool:
    """Make a folder; False if another process was faster."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            return False
    return True
