"""Two processes train as one where they have unequal numbers of tokens and where they compare samples, in chunks or not."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

pytestmark = pytest.mark.slow

RUN = runpy.run_path(str(Path(__file__).with_name("two_steppers.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, in_two_processes):
    path = tmp_path_factory.mktemp("steppers")
    in_two_processes("two_steppers", path)
    return path


@pytest.mark.parametrize(("strategy", "accumulate", "task"), RUN["CASES"])
def test_two_processes_train_as_one(strategy, accumulate, task, folder):
    expected = RUN["train"](Fabric(accelerator="cpu", devices=1), 1, task)
    found = torch.load(folder / f"{strategy}-{accumulate}-{task}.pt", weights_only=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=1e-4, atol=1e-6)


def test_two_processes_fine_tune_as_one(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    expected = RUN["finetune"](tmp_path)
    found = torch.load(folder / "finetuned.pt", weights_only=True)
    assert expected["rows"] == [64] * 4
    assert found["rows"] == [32] * 4
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=1e-3, atol=1e-5)
