"""Accumulated chunks are held to the whole batch: every task that compares samples passes, and planted faults are found."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.registry import registry
from selfsup.tasks import ComparesEmbeddings
from selfsup.testing import TaskCase, check_accumulated_chunks, task_cases
from selfsup.testing.toy.sequences.installed import installed
from selfsup.training.loop import gradient_cache
from selfsup.training.loop.gradient_cache import GradientCache
from selfsup.training.loop.stepper import Stepper, split_batch
from selfsup.types import Batch

OBJECTIVES = tuple(spec.id for spec in registry().objectives.values() if spec.family == "joint-embedding")
OTHERS = ("cpc", "wav2vec2")
"""Tasks of other families that compare samples."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory):
    with installed(tmp_path_factory.mktemp("toy")):
        yield {case.spec.id.split("/")[1]: case for case in task_cases("sequence")}


def test_every_objective_that_compares_embeddings_is_held_to_the_whole_batch(cases: dict[str, TaskCase]) -> None:
    tasks = {name: case.build() for name, case in cases.items()}
    assert {name for name, task in tasks.items() if isinstance(task, ComparesEmbeddings)} == {*OBJECTIVES, *OTHERS} & set(tasks)
    assert len(OBJECTIVES) >= 14
    assert not [name for name, task in tasks.items() if task.couples_samples and not isinstance(task, ComparesEmbeddings)]


@pytest.mark.parametrize(
    ("name", "chunks", "dtype"),
    [("simclr", 2, torch.float32), *((name, 4, torch.float64) for name in (*OBJECTIVES, *OTHERS))],
)
def test_chunks_give_the_gradient_of_the_whole_batch(
    name: str, chunks: int, dtype: torch.dtype, cases: dict[str, TaskCase]
) -> None:
    check_accumulated_chunks(cases[name], chunks, dtype)


@pytest.mark.parametrize("fault", ["chunks", "queue", "draws", "last"])
def test_a_planted_fault_is_found(fault: str, cases: dict[str, TaskCase], monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks compared by themselves, a queue that each enters, a second pass with other views, a gradient that is lost."""
    compare_all, send_back = GradientCache._compare, GradientCache._send_back

    def compares_each(cache: GradientCache, embedded: Any) -> Any:
        for chunk in embedded:
            cache.task.compare(chunk)
        return compare_all(cache, embedded)

    def loses(cache: GradientCache, chunk: Batch, gradients: Any) -> None:
        send_back(cache, chunk, [each * (len(each) != 2) for each in gradients])

    check_accumulated_chunks(cases["mocov2"])
    if fault == "chunks":
        monkeypatch.setattr(
            Stepper, "backward", lambda self, batch: self._mean.backward(self._forward, list(split_batch(batch, 3)))
        )
    elif fault == "queue":
        monkeypatch.setattr(GradientCache, "_compare", compares_each)
    elif fault == "draws":
        monkeypatch.setattr(gradient_cache.randomness, "set_state", lambda state, generator: None)
    else:
        monkeypatch.setattr(GradientCache, "_send_back", loses)
    with pytest.raises(AssertionError, match="accumulate=3"):
        check_accumulated_chunks(cases["mocov2"])
