"""Commands that run in this process, and the toy modality as the only plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch

from selfsup.artifacts import Encoder, RunDirectory
from selfsup.cli.main import main
from selfsup.data import load_source
from selfsup.registry import registry
from selfsup.testing.toy.sequences.installed import installed


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``selfsup`` with these arguments."""

    def run(*args: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The toy modality is installed, and no other."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_PLUGINS", "sequences")
        patch.setenv("SELFSUP_CACHE", str(folder / "cache"))
        with installed(folder / "site"):
            yield


@pytest.fixture(scope="module")
def run(toy: None, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run of the toy modality."""
    rows = load_source("toy-frames", modality=registry().get("modality", "sequence"))
    cls = registry().processor_class("sequence")
    processor = cls(cls.Config()).fit(rows)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone, options = registry().build_backbone("sequence/conv", {}, processor.info())
    task = "sequence/random-init"
    run = RunDirectory.create(tmp_path_factory.mktemp("runs") / "run", task=task, config={})
    Encoder(processor, backbone, backbone_id="sequence/conv", backbone_options=options, task=task).save(run.encoder)
    run.update(status="done")
    return run
