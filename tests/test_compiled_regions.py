"""What torch.compile compiles of a task: a few programs in the first steps, and none for batches of other lengths or masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from selfsup.registry import registry
from selfsup.testing.kit.cases import TaskCase
from selfsup.training.device.compilation import Compiled
from selfsup.types import Batch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),  # dynamo looks at it itself
]


@pytest.fixture
def compiled() -> Iterator[list[int]]:
    """Gets an entry for each program that the backend ``counting`` compiles."""
    from torch._dynamo.backends import registry as backends

    programs: list[int] = []

    def counting(graph: Any, inputs: Any) -> Any:
        programs.append(1)
        return graph.forward

    torch.compiler.reset()
    backends.register_backend(counting, "counting")
    yield programs
    del backends._BACKENDS["counting"], backends._COMPILER_FNS["counting"]
    torch.compiler.reset()


def counts(case: TaskCase, batches: list[Batch], programs: list[int], *, ragged: bool) -> list[int]:
    """Programs that are compiled by the end of each step."""
    task = case.build()
    code = Compiled(task, "counting", ragged=ragged)
    found: list[int] = []
    for number, batch in enumerate(batches):
        task(batch, case.generator(number)).loss.backward()
        task.after_step(number / len(batches))
        found.append(len(programs))
    code.undo()
    return found


def test_texts_of_all_lengths_share_their_programs(compiled: list[int]) -> None:
    case = TaskCase(registry().tasks["text/mlm"])
    batch = case.batch()
    length = batch["ids"].shape[1]
    lengths = [length, length - 3, length // 2, length - 5, length // 2 + 1, length - 2, 9, 10]
    batches = [{key: value[:, :each] if key != "words" else value for key, value in batch.items()} for each in lengths]
    found = counts(case, batches, compiled, ragged=True)
    assert found[-1] <= 2
    assert found[-4:] == [found[-1]] * 4


@pytest.mark.parametrize(("task", "most"), [("vision/dino", 5), ("vision/ijepa", 3)])
def test_views_and_masks_that_are_drawn_anew_compile_nothing_more(task: str, most: int, compiled: list[int]) -> None:
    case = TaskCase(registry().tasks[task])
    found = counts(case, [case.batch(part) for part in range(4)], compiled, ragged=False)
    assert 0 < found[0] <= most < torch._dynamo.config.recompile_limit
    assert found == found[:1] * 4
