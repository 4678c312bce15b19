from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfsup.testing.kit.processes import run_script_in_processes
from selfsup.testing.toy.sequences.installed import installed
from selfsup.training.run import launch

HERE = Path(__file__).parent
LONGEST_SECONDS = 1500.0
"""For all attempts of a test; a busy machine is slow."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The toy modality is installed and nothing else; the value is the folder for ``PYTHONPATH`` of other processes."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_PLUGINS", "sequences")
        patch.setenv("SELFSUP_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        with installed(folder / "site"):
            patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")])))
            yield folder / "site"


def run_script(name: str, environment: Mapping[str, str], **values: Any) -> multiprocessing.Process:
    """Start a script of this folder, with these globals, in a process of a server that has imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "lightning_fabric"])
    arguments = {"init_globals": {**values, "environment": dict(environment)}, "run_name": name}
    process = context.Process(target=runpy.run_path, args=(str(HERE / f"{name}.py"),), kwargs=arguments)
    process.start()
    return process  # type: ignore[return-value]


class ForkedWorker:
    """A worker of a run on several devices with the methods of ``subprocess.Popen``; it starts without importing torch."""

    def __init__(self, folder: Path, rank: int, environment: Mapping[str, str]) -> None:
        own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        self._process = run_script("worker_process", own, folder=str(folder))
        self.kill, self.wait = self._process.kill, self._process.join

    def poll(self) -> int | None:
        return self._process.exitcode

    returncode = property(poll)

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


@pytest.fixture
def forked_workers(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the workers of runs on several devices from a process that has imported torch; it saves seconds each."""
    monkeypatch.setattr(launch, "_start", ForkedWorker)


@pytest.fixture(scope="session")
def in_two_processes() -> Callable[..., None]:
    """Call ``process(rank, *arguments)`` of a script of this folder in two processes, with the environment of torchrun.

    ``processes`` gives another number.
    """

    def run(name: str, *arguments: object, processes: int = 2) -> None:
        with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
            free.bind(("127.0.0.1", 0))
            for key, value in {
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1], "WORLD_SIZE": processes,
                "LOCAL_WORLD_SIZE": processes,
                "GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "test",
            }.items():  # fmt: skip
                patch.setenv(key, str(value))
            free.close()
            run_script_in_processes(processes, HERE / f"{name}.py", *map(str, arguments))

    return run


Attempts = Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]


@pytest.fixture(scope="module")
def attempt(tmp_path_factory: pytest.TempPathFactory, toy: Path) -> Callable[..., tuple[list[int], str]]:
    """Pretrain in child processes, one after the other, that are stopped in the ways of ``stopped_runs.py``.

    Gives their statuses and what they wrote to stderr. With ``alone`` they are children of a script, a main module without a
    guard, which imports torch anew.
    """

    def run(attempts: Attempts, *, alone: bool = False) -> tuple[list[int], str]:
        folder = tmp_path_factory.mktemp("attempts")
        (folder / "plan.json").write_text(json.dumps(attempts))
        if alone:
            subprocess.run([sys.executable, str(HERE / "stopped_runs.py"), str(folder)], timeout=LONGEST_SECONDS, check=False)
        else:
            process = run_script("stopped_runs", os.environ, folder=str(folder))
            process.join(LONGEST_SECONDS)
            process.kill()
        errors = (folder / "errors.txt").read_text()
        assert (folder / "codes.json").exists(), errors
        codes = json.loads((folder / "codes.json").read_text())
        assert 1 not in codes, errors
        return codes, errors

    return run


@pytest.fixture
def compile_backend() -> Iterator[Callable[[str, Callable[..., Any]], None]]:
    """Register a backend of torch.compile by its name, for the time of a test that starts with nothing compiled."""
    from torch._dynamo.backends import registry
    from torch.compiler import reset

    names: list[str] = []

    def register(name: str, function: Callable[..., Any]) -> None:
        registry.register_backend(function, name)
        names.append(name)

    reset()
    yield register
    for name in names:
        del registry._BACKENDS[name], registry._COMPILER_FNS[name]
    reset()
