"""Try inputs in this process: one JSON line of a job on standard input, one line of results on standard output."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

_ADDRESS_SPACE = 8 << 30
"""Bytes that this process may map in addition to what it has at its start: a larger allocation fails, as on a small machine."""


FAULT = "CORRUPTED_FAULT"
"""Environment variable with code to run in place of the first job: to test the watchdog."""


def _status(key: str) -> int:
    """A figure of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) << 10
    raise ValueError(key)


def main() -> None:
    """Answer jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    faulthandler.enable()
    warnings.simplefilter("ignore")
    if fault := os.environ.get(FAULT):
        next(sys.stdin)
        exec(fault, {"answer": lambda **values: _answer(answers, values)})
        return
    from corrupted.hostile import HOSTILE, attempt_hostile
    from corrupted.trials import attempt

    limit = _status("VmSize") + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        job = json.loads(line)
        clear = Path("/proc/self/clear_refs")
        clear.write_text("5")  # forget the peak
        before, began = _status("VmRSS"), time.monotonic()
        with tempfile.TemporaryDirectory(prefix="corrupted-") as folder:
            if job["kind"] in HOSTILE:
                results = [attempt_hostile(job["kind"], Path(folder))]
            else:
                results = attempt(job["kind"], job["seeds"], Path(folder))
            seconds = time.monotonic() - began
        grown = max(_status("VmHWM") - before, 0)
        _answer(answers, {"results": [result.as_dict() for result in results], "seconds": seconds, "grown": grown})


def _answer(stream: TextIO, values: dict[str, Any]) -> None:
    stream.write(json.dumps(values) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
