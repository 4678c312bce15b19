"""Several gloo processes train as one process on the joined batch does: the same weights, queues, centres and statistics."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from selfsup.testing.kit.processes import run_script_in_processes

SCRIPT = Path(__file__).with_name("two_processes.py")
RUN = runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("gloo")
    run_script_in_processes(2, SCRIPT, str(path))
    return path


@pytest.mark.parametrize("name", RUN["OPTIONS"])
def test_two_processes_train_as_one(name, folder):
    check(folder, name, 2)


def test_groups_of_batch_norm_consist_of_several_processes(tmp_path):
    run_script_in_processes(4, SCRIPT, str(tmp_path), 4, "mocov2-two-groups")
    check(tmp_path, "mocov2-two-groups", 4)


def check(folder, name, processes):
    expected = RUN["train"](name)
    start = RUN["build"](name).state_dict()
    assert any(not torch.equal(value, start[key]) for key, value in expected.items() if key.startswith("backbone")), (
        "nothing was trained"
    )
    for rank in range(processes):
        found = torch.load(folder / f"{name}.{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.allclose(found[key].double(), value.double(), rtol=1e-9, atol=1e-9), f"{key} on rank {rank}"
