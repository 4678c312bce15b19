"""Compiling networks and views: where, and that it is undone; what is not compiled runs as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from selfsup.tasks.base import InputChange
from selfsup.tasks.parts.transformer import Transformer
from selfsup.training.device import compilation
from selfsup.training.device.compilation import Compiled

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks at it itself


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


def test_an_error_of_the_compiler_in_the_backward_pass_leaves_the_network_as_it_is(
    compile_backend: Callable[[str, Any], None],
) -> None:
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    called: list[str] = []

    def forward(graph: Any, inputs: Any) -> Any:
        called.append("forward")
        return make_boxed_func(graph)

    def backward(graph: Any, inputs: Any) -> Any:
        called.append("backward")
        raise RuntimeError("no kernel for this gradient")

    compile_backend("half", aot_autograd(fw_compiler=forward, bw_compiler=backward))
    network = Transformer(8, 1, 2)
    x = torch.randn(2, 3, 8)
    network(x).square().sum().backward()
    plain = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    compiled = Compiled(network, "half", ragged=False)
    with compilation._errors_suppressed():
        network(x).square().sum().backward()
    compiled.undo()
    assert "backward" in called
    assert all(torch.equal(p.grad, own) for p, own in zip(network.parameters(), plain, strict=True) if p.grad is not None)


def test_ragged_lengths_share_one_program(compile_backend: Callable[[str, Any], None]) -> None:
    compiled: list[str] = []

    def counting(graph: Any, inputs: Any) -> Any:
        compiled.append("")
        return graph.forward

    compile_backend("counting", counting)
    counts: dict[bool, list[int]] = {}
    for ragged in (True, False):
        torch.compiler.reset()
        compiled.clear()
        network = Transformer(8, 2, 2)
        Compiled(network, "counting", ragged=ragged)
        counts[ragged] = []
        for length in (5, 9, 6, 12):
            padding = torch.zeros(2, length, dtype=torch.bool)
            padding[1, 3:] = True
            network(torch.randn(2, length, 8), padding).sum().backward()
            counts[ragged].append(len(compiled))
    assert len(set(counts[True])) == 1  # compiled for the first length alone, which both blocks share
    assert counts[False][-1] == 4 * counts[False][0]


def test_the_limit_of_compilations_is_said_once(compile_backend: Callable[[str, Any], None]) -> None:
    said: list[str] = []
    network = Transformer(8, 1, 2)
    Compiled(network, "eager", ragged=False)
    with compilation._limit_reported(said.append), torch._dynamo.config.patch(recompile_limit=2):
        for length in range(2, 8):
            network(torch.zeros(1, length, 8))
    (text,) = said
    assert "compiled a part of the task 2 times, and compiles it for no further shapes" in text
