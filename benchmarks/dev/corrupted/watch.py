"""Start processes that try inputs, and see whether one crashes, hangs or takes too much memory."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corrupted.damage import WHOLE

CRASH, HANG, MEMORY = "crash", "hang", "memory"
OUTCOMES = ("read", "refused", "unclear", CRASH, HANG, MEMORY)
HERE = Path(__file__).resolve().parent


@dataclass
class Figures:
    """What became of the inputs of one kind."""

    counts: Counter[str] = field(default_factory=Counter)
    grown: int = 0
    """Most bytes by which the process grew during a job."""
    slowest: float = 0.0
    """Seconds of the longest job."""
    faults: list[str] = field(default_factory=list)
    """Inputs that were neither read nor refused, with their seed and what happened."""
    texts: list[tuple[int, str]] = field(default_factory=list)
    """Seed and message of each refused input."""
    unforeseen: Counter[str] = field(default_factory=Counter)
    """Bad rows whose decoder raised an error that it is not known to raise."""


class Watched:
    """A child process that tries inputs, started again when it died.

    Args:
        base: folder of :func:`corrupted.saved_files.make_base`.
        patience: seconds for the inputs of a job.
        most_memory: bytes by which a job may make the process grow.
    """

    def __init__(self, base: Path, *, patience: float = 60.0, most_memory: int = 1 << 30) -> None:
        self.base, self.patience, self.most_memory = base, patience, most_memory
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._log.close()

    def ask(self, job: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """The answer to a job; or None, and what happened in its place."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if not selector.select(self.patience):
                    process.send_signal(signal.SIGABRT)  # faulthandler writes where it hangs
                    process.wait(10)
                    return None, f"{HANG}: {self._said()}"
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer, ""
        status = process.wait(10)
        return None, f"{CRASH} (status {status}): {self._said()}"

    def _said(self) -> str:
        """The end of what the process wrote to standard error; it is started again."""
        self._stop()
        self._log.seek(0)
        return self._log.read()[-3000:]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._log.seek(0)
            self._log.truncate()
            path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
            self._process = subprocess.Popen(
                [sys.executable, "-m", "corrupted.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "CORRUPTED_BASE": str(self.base), "OMP_NUM_THREADS": "1"},
            )
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            self._process = None


_NOTHING: dict[str, Any] = {"results": []}


def run(watched: Watched, kind: str, seeds: Sequence[int], per_job: int) -> Figures:
    """Try the inputs of these seeds; a job that fails as a whole is tried again input by input.

    Args:
        watched: the process.
        kind: of the inputs.
        seeds: of the damage.
        per_job: inputs that are tried together; 0: the kind is a hostile file, which has no whole one to try first.
    """
    figures = Figures()
    answer: dict[str, Any] | None
    answer, what = watched.ask({"kind": kind, "seeds": [WHOLE]}) if per_job else (_NOTHING, "")  # also imports what it needs
    given = [] if answer is None else answer["results"]
    told = what or "".join(result["text"] for result in given if result["outcome"] != "read")
    if told:
        figures.faults.append(f"{kind}: the whole file is not read: {told}")
    step = per_job or 1
    for start in range(0, len(seeds), step):
        some = list(seeds[start : start + step])
        for answer, what, asked in _answers(watched, kind, some):
            if answer is None:
                figures.counts[what.partition(" ")[0].rstrip(":")] += 1
                figures.faults.append(f"{kind} {asked}: {what}")
                continue
            figures.grown = max(figures.grown, answer["grown"])
            figures.slowest = max(figures.slowest, answer["seconds"])
            for result in answer["results"]:
                figures.counts[result["outcome"]] += 1
                if result["outcome"] == "unclear":
                    figures.faults.append(f"{kind} [{result['seed']}]: unclear: {result['text']}")
                else:
                    figures.texts.append((result["seed"], result["text"]))
                if "it cannot be processed" in result["text"]:
                    figures.unforeseen[result["text"].partition("it cannot be processed")[2][:160]] += 1
    return figures


def _answers(watched: Watched, kind: str, seeds: list[int]) -> Iterator[tuple[dict[str, Any] | None, str, list[int]]]:
    answer, what = watched.ask({"kind": kind, "seeds": seeds})
    if answer is not None and answer["grown"] > watched.most_memory:
        what = f"{MEMORY} (grew by {answer['grown'] >> 20} MiB)"
        answer = None
    if answer is None and len(seeds) > 1:
        for seed in seeds:
            yield from _answers(watched, kind, [seed])
    else:
        yield answer, what, seeds
