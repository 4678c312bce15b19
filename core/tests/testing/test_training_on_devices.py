"""Tasks of every family train on several processes as on one, with DDP and with sharded weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from selfsup.registry import registry
from selfsup.testing import TaskCase, check_training_on_devices, task_cases
from selfsup.testing.toy.sequences.installed import installed

pytestmark = pytest.mark.slow

EXAMPLES = ("byol", "mocov2", "mae", "cluster-prediction", "data2vec", "cpc", "segment-order", "denoising-autoencoder")
"""Tasks of all families, with batch norm, a queue, a moving average and a mask."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[TaskCase]]:
    with installed(tmp_path_factory.mktemp("site")):
        found = task_cases("sequence")
        chosen = [case for case in found if case.spec.id.removeprefix("sequence/") in EXAMPLES]
        families = {spec.family for spec in registry().tasks.values() if spec.modality == "sequence"} - {"reference"}
        assert {case.spec.family for case in chosen} >= families
        assert len(chosen) == len(EXAMPLES)
        yield chosen


@pytest.mark.parametrize(("strategy", "half"), [("ddp", 0), ("fsdp", 1)])
def test_tasks_of_every_family_train_as_in_one_process(
    strategy: Literal["ddp", "fsdp"], half: int, cases: list[TaskCase]
) -> None:
    assert check_training_on_devices(cases[half::2], strategy=strategy) == {}


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_toy_tasks_train_as_in_one_process(strategy: Literal["ddp", "fsdp"], processes: int, cases: list[TaskCase]) -> None:
    assert check_training_on_devices(task_cases("sequence"), processes=processes, strategy=strategy) == {}
