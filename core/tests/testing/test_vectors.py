"""The toy without tokens: it has the tasks that need none, and they pass all checks of the kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from selfsup.errors import BadRowError
from selfsup.registry import registry
from selfsup.testing import check_spec
from selfsup.testing.kit.cases import fitted_processor
from selfsup.testing.kit.conformance import backbone_cases, backbone_checks, task_cases, task_checks
from selfsup.testing.toy.sequences.installed import installed
from selfsup.testing.toy.vectors import VectorProcessor


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("toy")):
        yield


def test_a_modality_without_tokens_has_all_tasks_that_need_none() -> None:
    pooled = {o.id for o in registry().objectives.values() if o.family == "joint-embedding" and not o.compares_tokens}
    tasks = {task.id.removeprefix("vector/") for task in registry().tasks.values() if task.modality == "vector"}
    assert tasks == pooled | {"random-init", "supervised"}


@pytest.mark.parametrize("name", ["simclr", "dino", "swav", "lejepa", "simsiam", "supervised"])
def test_its_tasks_pass_every_check(name: str) -> None:
    (case,) = [case for case in task_cases("vector") if case.spec.id == f"vector/{name}"]
    for check in task_checks(case):
        check(case)


def test_its_network_and_what_it_registers_pass_every_check(tmp_path: Path) -> None:
    for case in backbone_cases("vector"):
        for check in backbone_checks(case):
            check(case)
    check_spec(registry().get("modality", "vector"))
    check_spec(registry().get("backbone", "vector/mlp"))
    processor = fitted_processor("vector")
    processor.save(tmp_path)
    assert VectorProcessor.load(tmp_path).info() == processor.info() == {"width": 10}
    with pytest.raises(BadRowError, match=r"shape \(3,\), not \(10,\)"):
        processor.encode({"vector": [1.0, 2.0, 3.0]})
