"""Tasks that predict words make the logits of some tokens at a time where all would be many, and learn the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.backbones import large_vocabulary
from selfsup.registry import registry
from selfsup.testing.kit.cases import TaskCase

TASKS = ("mlm", "clm", "span-corruption", "tsdae", "electra", "simmim", "mae")


def step(case: TaskCase) -> dict[str, Any]:
    task, generator = case.task().double(), case.generator()
    output = task(case.batch(), generator)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in task.named_parameters() if parameter.grad is not None}
    return {"loss": output.loss.detach(), **gradients}


@pytest.mark.parametrize("task", TASKS)
def test_loss_and_gradient_are_the_same_in_chunks(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = TaskCase(registry().get("task", f"text/{task}"), rows=6)
    whole = step(case)
    calls: list[int] = []
    again = large_vocabulary.checkpoint
    monkeypatch.setattr(large_vocabulary, "checkpoint", lambda *a, **k: (calls.append(1), again(*a, **k))[1])
    monkeypatch.setattr(large_vocabulary, "MOST_LOGITS", 1)
    monkeypatch.setattr(large_vocabulary, "CHUNK_LOGITS", 7 * 200)
    chunked = step(case)
    assert len(calls) > 1
    assert whole.keys() == chunked.keys()
    for name, value in whole.items():
        torch.testing.assert_close(chunked[name], value, rtol=1e-5, atol=1e-7, msg=name)
