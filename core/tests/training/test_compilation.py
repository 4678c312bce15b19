"""Compiling networks and views: where, whether it pays, and that it is undone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from selfsup.tasks.base import InputChange
from selfsup.tasks.parts.transformer import Transformer
from selfsup.training.device import compilation
from selfsup.training.device.compilation import Compiled, CompileTrial, Measured


class Doubling(InputChange):
    compilable = ("double",)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.double(x)

    def double(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


@pytest.fixture
def task() -> nn.Module:
    return nn.ModuleDict({"decoder": Transformer(8, 2, 2), "views": Doubling()})


def test_blocks_and_views_are_compiled_until_it_is_undone(task: nn.Module) -> None:
    blocks = list(task["decoder"].blocks)  # type: ignore[index]
    compiled = Compiled(task, "eager", ragged=False)
    assert all(block._compiled_call_impl is not None for block in blocks)
    assert "double" in vars(task["views"])  # type: ignore[index]
    compiled.undo()
    assert all(block._compiled_call_impl is None for block in blocks)
    assert "double" not in vars(task["views"])  # type: ignore[index]


class Trials:
    """A trial whose clock advances by what a step takes: ``before`` and, where it is compiled, ``after``."""

    def __init__(
        self, task: nn.Module, *, total: int, before: float, after: float, known: Mapping[str, Any] | None = None
    ) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.compiled: list[Compiled] = []
        self.time, self.before, self.after, self.total = 0.0, before, after, total

        def compile() -> Compiled:
            self.compiled.append(Compiled(task, "eager", ragged=False))
            self.time += 8.0
            return self.compiled[-1]

        self.trial = CompileTrial(
            compile,
            {"task": "x"},
            total_steps=total,
            device=torch.device("cpu"),
            decided=self.decisions.append,
            known=known or {},
        )
        self.trial._now = lambda: self.time  # type: ignore[method-assign]

    def run(self, first: int = 1) -> None:
        for step in range(first, self.total + 1):
            self.time += self.after if self.compiled and self.compiled[-1]._modules else self.before
            self.trial(step)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))


def test_a_long_run_is_compiled_and_a_short_one_is_not(task: nn.Module) -> None:
    long = Trials(task, total=10_000, before=0.1, after=0.05)
    long.run()
    assert long.decisions[0]["backend"] == "inductor"
    assert long.decisions[0]["from_step"] == 25
    assert long.decisions[1] == {"found": {"seconds": pytest.approx(7.75), "gain": pytest.approx(2.0)}}
    long.trial.undo()
    assert not long.compiled[0]._modules
    # What was measured is known now: 8 s for half of the time pay from 16 s on.
    short = Trials(task, total=100, before=0.1, after=0.05)
    short.run()
    assert not short.compiled
    assert short.decisions == [
        {
            "backend": "off",
            "measured": True,
            "seconds_left": 7.5,
            "expected": {"seconds": 7.75, "gain": 2.0},
            "step_seconds": 0.1,
        }
    ]


def test_a_compilation_that_does_not_help_is_undone(task: nn.Module) -> None:
    slow = Trials(task, total=10_000, before=0.1, after=0.1)
    slow.run()
    assert slow.decisions[-1]["until_step"] == 50
    assert not slow.compiled[0]._modules
    assert not Measured(5.0, 1.0).saves(1e9)


def test_a_resumed_run_follows_the_decision(task: nn.Module) -> None:
    resumed = Trials(task, total=60, before=0.1, after=0.1, known={"backend": "inductor", "from_step": 25, "until_step": 50})
    resumed.run(first=31)
    assert len(resumed.compiled) == 1
    assert not resumed.compiled[0]._modules
    assert not resumed.decisions
    never = Trials(task, total=60, before=0.1, after=0.1, known={"backend": "off"})
    never.run()
    assert not never.compiled


def test_looks_run_uncompiled_networks() -> None:
    ran: list[bool] = []
    block = Transformer(8, 1, 2).blocks[0]
    forward = block.forward

    def spy(*args: Any) -> Any:
        ran.append(torch.compiler.is_compiling())
        return forward(*args)

    block.forward = spy  # type: ignore[method-assign]
    block.compile(backend="eager")
    with compilation.uncompiled():
        block(torch.zeros(1, 2, 8), None)
    assert ran == [False]
