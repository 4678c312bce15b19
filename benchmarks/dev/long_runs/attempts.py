"""Interrupt a life again and again, let it go on, and compare its end with that of an undisturbed one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from long_runs.command_server import KILLED, CommandServer
from long_runs.disk_faults import Control, Fault, build
from long_runs.lives import Life, differences, left_by, write_data
from long_runs.small_disk import SmallDisk
from selfsup.testing.toy.sequences.installed import write_distribution

_SUITE = """
from selfsup.registry import BenchmarkSpec, hookimpl

SELFSUP_API = 1


@hookimpl
def selfsup_benchmarks():
    overrides = {
        "optimization.batch_size": 32, "precision": "32", "checkpoint_every": 5, "evaluators.few-labels.draws": 2,
        "scratch.epochs": 1,
    }
    spec = BenchmarkSpec(
        id="toy-simclr", summary="A toy.", task="sequence/simclr", dataset="toy-sequences", suites=("toy",), steps=20,
        backbone="sequence/conv", overrides=overrides,
    )
    return [spec]
"""


_PATIENCE_SECONDS = 120.0
"""How long the processes of a run on several devices may take to end when the one that started them was killed."""


@dataclass(frozen=True)
class Undisturbed:
    """What a command does and leaves when nothing happens to it."""

    calls: int
    """Changes of the file system."""
    written: int
    """Bytes."""
    seconds: float
    growth: int
    """Bytes that it adds to its disk, if that is a small one."""
    left: dict[str, Any]
    """From :func:`long_runs.lives.left_by`."""


@dataclass(frozen=True)
class Ended:
    """How a command went that was interrupted and given again."""

    logs: list[str]
    """What was written when a fault ended it, one text a fault."""
    at: list[str]
    """The path at which each fault happened."""
    differs: list[str]
    """Where what it leaves differs from what an undisturbed one leaves."""
    mapped: int
    """Shared writable maps of files."""


class Attempts(AbstractContextManager["Attempts"]):
    """Runs commands of a life, always in the same folder, so that the paths in its records are the same.

    Args:
        life: the commands.
        folder: for this object; its subfolder ``life`` is that of the attempts.
        disk: that it is on, whose size is that of :attr:`Fault.disk_bytes`.
    """

    def __init__(self, life: Life, folder: Path, disk: SmallDisk | None = None) -> None:
        self.life, self._folder, self._disk = life, folder, disk
        self._place = (folder if disk is None else disk.path) / "life"
        self._log = folder / "log.txt"
        folder.mkdir(parents=True, exist_ok=True)
        site = folder / "site"
        write_distribution(site)
        _write_suite(site)
        self._control = Control.make(folder / "control", self._place)
        environment = {
            "SELFSUP_PLUGINS": life.plugins,
            "SELFSUP_CACHE": str(self._place / "cache"),
            "TMPDIR": str(self._place / "tmp"),
            "HF_HOME": str(self._place / "home"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
        }
        (folder / "before-0").mkdir()
        write_data(folder / "before-0")
        for name in ("tmp", "home"):
            (folder / "before-0" / name).mkdir()
        self._server = CommandServer(build(folder), environment, life.modules, self._place)
        self.undisturbed = [self._measured(place) for place in range(len(life.commands))]

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()

    def interrupted(self, place: int, *faults: Fault) -> Ended:
        """Give a command again after each fault, and at last without one.

        Args:
            place: of the command in the life; those before it are undisturbed.
            faults: what happens to it, one after the other.
        """
        self._restore(place)
        command, logs, at, mapped = self.life.commands[place], [], [], 0
        for fault in faults:
            self._control.set(fault)
            if self._disk is not None:
                self._disk.resize(fault.disk_bytes)
            status, log = self._run(command, fault)
            if self._disk is not None:
                self._disk.resize(None)
            mapped += self._control.mapped
            if status == 0:  # it ended first, or could do without what failed
                continue
            expected = self._control.fired or status == KILLED or "disk is full" in log
            assert expected, f"{fault}: {command} ended with status {status}:\n{log}"
            logs.append(log)
            at.append(self._control.at)
        self._control.set(Fault())
        self._through(command)
        return Ended(logs, at, differences(self.undisturbed[place].left, left_by(self._place)), mapped)

    def restore(self, place: int) -> int:
        """Bring the folder to the state before a command; gives the bytes in use on its disk, if that is a small one."""
        self._restore(place)
        return self._used()

    def _used(self) -> int:
        return 0 if self._disk is None else self._disk.used

    def _restore(self, place: int) -> None:
        """The folder as it is before a command."""
        for path in self._place.iterdir() if self._place.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._folder / f"before-{place}", self._place, dirs_exist_ok=True)

    def _run(self, command: Sequence[str], fault: Fault) -> tuple[int, str]:
        """Exit status and output of a command."""
        self._log.unlink(missing_ok=True)
        status = self._server.run(command, self._control, fault, self._log)
        return status, self._log.read_text() if self._log.exists() else ""

    def _measured(self, place: int) -> Undisturbed:
        self._restore(place)
        self._control.set(Fault())
        before, began = self._used(), time.monotonic()
        self._through(self.life.commands[place])
        seconds, control = time.monotonic() - began, self._control
        measured = Undisturbed(control.calls, control.written, seconds, self._used() - before, left_by(self._place))
        shutil.copytree(self._place, self._folder / f"before-{place + 1}")
        return measured

    def _through(self, command: Sequence[str]) -> None:
        """Give a command that has to succeed, once no process of a killed one saves its last steps any more."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        status, log = self._run(command, Fault())
        while "is in use by process" in log and time.monotonic() < deadline:
            time.sleep(0.2)
            status, log = self._run(command, Fault())
        assert status == 0, f"selfsup {' '.join(command)} ended with status {status}:\n{log}"


def _write_suite(site: Path) -> None:
    (site / "toy_suite.py").write_text(_SUITE)
    info = site / "toy_suite-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-suite\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[selfsup]\ntoy-suite = toy_suite\n")
