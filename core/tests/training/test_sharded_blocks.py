"""Two processes whose blocks are sharded separately (FSDP2) or computed again train as one process does."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

pytestmark = pytest.mark.slow

RUN = runpy.run_path(str(Path(__file__).with_name("two_sharded_blocks.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, in_two_processes: Callable[..., None]) -> Path:
    path = tmp_path_factory.mktemp("sharded")
    in_two_processes("two_sharded_blocks", path)
    return path


@pytest.mark.parametrize(("strategy", "task", "recompute"), RUN["CASES"])
def test_two_processes_train_as_one(strategy: str, task: str, recompute: bool, folder: Path) -> None:
    expected = RUN["train"](Fabric(accelerator="cpu", devices=1), task, False)
    found = torch.load(folder / f"{strategy}-{task}-{recompute}.pt", weights_only=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    for kind in ("gradients", "weights"):
        assert found[kind].keys() == expected[kind].keys()
        for name, value in expected[kind].items():
            torch.testing.assert_close(found[kind][name], value, rtol=1e-5, atol=1e-8, msg=f"{kind} {name}")
    torch.testing.assert_close(found["embedded"], expected["embedded"], rtol=1e-5, atol=1e-8)
    if strategy == "fsdp":
        # Every block of the network, its moving average and its decoder is sharded, and whole only while it computes.
        assert found["sharded"] == found["blocks"] >= 3
        assert found["whole_at_once"] <= 1
