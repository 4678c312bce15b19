"""The worker process of a run on several devices; started by :mod:`selfsup.training.run.launch`."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path


def main(folder: Path) -> int:
    """Take part in the run that ``plan.json`` describes, and leave word of an error. Returns the exit status."""
    from selfsup.errors import SelfsupError
    from selfsup.training.loop.signals import StopRequest
    from selfsup.training.run.launch import note_ready, write_failure

    rank, stop = int(os.environ["RANK"]), StopRequest()
    plan = json.loads((folder / "plan.json").read_text())
    try:
        with stop.before_training():
            note_ready(folder, rank)
            from selfsup.training.device.devices import resolve_devices
            from selfsup.training.run.config import RunConfig
            from selfsup.training.run.process import execute

            config, out = RunConfig.model_validate(plan["config"]), Path(plan["out"])
            execute(config, resolve_devices(config), out, stop, resume=plan["resume"], progress=plan["progress"])
    except BaseException as error:
        if not isinstance(error, SelfsupError):
            traceback.print_exc()
        write_failure(folder, rank, error)
        return 1
    return 0


if __name__ == "__main__":
    # A peer that waits in a collective would hold a normal exit up; the word has been left.
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
