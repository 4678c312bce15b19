"""One process of a run on several devices; started by :mod:`selfsup.training.run.launch`."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path


def main(folder: Path) -> int:
    """Take part in the run that ``plan.json`` describes, and leave word of an error. Returns the exit status."""
    from selfsup.errors import SelfsupError
    from selfsup.training.run.launch import write_failure

    plan = json.loads((folder / "plan.json").read_text())
    try:
        from selfsup.training.device.devices import resolve_devices
        from selfsup.training.run.config import RunConfig
        from selfsup.training.run.process import execute

        config = RunConfig.model_validate(plan["config"])
        execute(config, resolve_devices(config), Path(plan["out"]), resume=plan["resume"], progress=plan["progress"])
    except BaseException as error:
        if not isinstance(error, SelfsupError):
            traceback.print_exc()
        write_failure(folder, int(os.environ["RANK"]), error)
        return 1
    return 0


if __name__ == "__main__":
    # A peer that waits in a collective would hold a normal exit up; the word has been left.
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
