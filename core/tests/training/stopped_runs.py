"""Pretrain in forked child processes that are stopped on the way, for ``conftest.attempt``.

``FOLDER/plan.json`` lists task, options and how the child is stopped: ``{"at": STEP, "signal": NUMBER}`` after a step,
``{"write": true}`` in the middle of writing a checkpoint, ``{"group": NUMBER}`` by a signal to its process group while it waits
for a batch, ``{}`` not at all. ``FOLDER/codes.json`` gets the exit statuses.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if "environment" in globals():  # else it is a script, and has one
    os.environ.clear()
    os.environ.update(globals()["environment"])

import torch

import selfsup.training.run.pretrain
from selfsup.data.sources.streams.row_stream import RowStream
from selfsup.training.loop import checkpoint
from selfsup.training.loop.stepper import Stepper


def prepare(stop: dict[str, Any]) -> None:
    """Make this process stop in the way that is asked for."""
    take, replace, read, begun = Stepper.take, checkpoint.atomic_write, RowStream.read, []

    def counted(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step == stop.get("at"):
            os.kill(os.getpid(), stop["signal"])
        if self.step == 2 and "group" in stop:
            begun.append(self.step)
            subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -{stop['group']} -{os.getpgid(0)}"])

    def cut_short(path: Path, write: Any) -> None:
        def half(file: Any) -> None:
            write(file)
            file.truncate(file.tell() // 2)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        replace(path, half if stop.get("write") and path.name == checkpoint.LAST else write)

    def slow(self: RowStream, *place: int) -> Iterator[Any]:
        for row in read(self, *place):
            time.sleep(0.05 if begun else 0)
            yield row

    Stepper.take, checkpoint.atomic_write, RowStream.read = counted, cut_short, slow  # type: ignore[assignment,method-assign]
    if "group" in stop:
        os.setsid()  # a group of its own, as a job has


def attempt(task: str, options: dict[str, Any], stop: dict[str, Any]) -> int:
    """Exit status of a child."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    prepare(stop)
    try:
        selfsup.training.run.pretrain.pretrain(task, **options)
    except SystemExit as ended:
        os._exit(int(str(ended.code)))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


# No guard for the main module: processes that decode must not run it again.
torch.set_num_threads(1)
place = Path(globals().get("folder", sys.argv[-1]))
os.dup2(os.open(place / "errors.txt", os.O_WRONLY | os.O_CREAT), 2)
codes = [attempt(*each) for each in json.loads((place / "plan.json").read_text())]
(place / "codes.json").write_text(json.dumps(codes))
