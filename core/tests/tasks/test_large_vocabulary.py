"""Cross-entropy over large vocabularies: exact, in the memory of a chunk, and as it was where there are few logits."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import large_vocabulary
from selfsup.testing.toy.sequences.backbones import IdTransformer, SequenceTransformerConfig

LiveBytes = runpy.run_path(str(Path(__file__).parents[1] / "training" / "live_bytes.py"))["LiveBytes"]
B, K, D, V = 4, 24, 8, 50


def network(vocabulary: int = V) -> IdTransformer:
    torch.manual_seed(0)
    return IdTransformer(SequenceTransformerConfig(dim=D), {"vocabulary": vocabulary, "kind": "ids"})


NETWORK = network()


class Head(nn.Module):
    """A head with layers before the words, as BERT's."""

    def __init__(self, vocabulary: int = V) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(D, D), nn.GELU(), nn.LayerNorm(D), nn.Linear(D, vocabulary))
        self.rows: list[int] = []

    def forward(self, states: Tensor) -> Tensor:
        self.rows.append(states.shape[0] * states.shape[1])
        out: Tensor = self.layers(states)
        return out


def inputs(vocabulary: int = V, dtype: torch.dtype = torch.float64, n: int = K) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    states = torch.randn(B, n, D, generator=g, dtype=dtype, requires_grad=True)
    return states, torch.randint(vocabulary, (B, n), generator=g), torch.rand(B, n, generator=g, dtype=dtype)


Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def of_network(head: nn.Module, states: Tensor, target: Tensor) -> Tensor:
    index = torch.arange(states.shape[1]).expand(target.shape)
    return NETWORK.predicted_loss(head, states, target, index)


def plain(head: nn.Module, states: Tensor, target: Tensor) -> Tensor:
    logits = head(states)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)


def value_and_gradient(loss: Loss, *, dtype: torch.dtype, context: AbstractContextManager[Any]) -> list[Tensor]:
    head = Head().to(dtype)
    states, target, weight = inputs(dtype=dtype)
    with context:
        losses = loss(head, states, target)
    (losses * weight).sum().backward()
    assert states.grad is not None
    return [losses.detach(), states.grad, *(parameter.grad for parameter in head.parameters() if parameter.grad is not None)]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten tokens of the vocabulary at once."""
    monkeypatch.setattr(large_vocabulary, "MOST_LOGITS", 20 * V)
    monkeypatch.setattr(large_vocabulary, "CHUNK_LOGITS", 10 * V)


@pytest.mark.usefixtures("few")
def test_value_and_gradient_are_those_of_all_logits() -> None:
    found, wanted = (value_and_gradient(loss, dtype=torch.float64, context=nullcontext()) for loss in (of_network, plain))
    assert len(found) == len(wanted) == 2 + 6
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("few")
def test_under_autocast_the_loss_is_of_float32_and_near() -> None:
    half, single = torch.autocast("cpu", torch.bfloat16), torch.float32
    made = [value_and_gradient(loss, dtype=single, context=half) for loss in (of_network, plain)]
    assert made[0][0].dtype == torch.float32
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other.to(one.dtype), rtol=0.05, atol=0.05)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's compiler looks at it
@pytest.mark.usefixtures("few")
def test_it_can_be_compiled() -> None:
    compiled: Any = torch.compile(of_network, backend="aot_eager")
    found = value_and_gradient(compiled, dtype=torch.float64, context=nullcontext())
    wanted = value_and_gradient(plain, dtype=torch.float64, context=nullcontext())
    torch._dynamo.reset()
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("few")
def test_without_gradient_each_token_passes_the_head_once() -> None:
    head, (states, target, _) = Head().double(), inputs()
    with torch.no_grad():
        found = of_network(head, states, target)
    assert (sum(head.rows), max(head.rows)) == (B * K, 10)
    torch.testing.assert_close(found, plain(head, states, target))


def test_few_logits_are_made_once_and_all_together() -> None:
    head, (states, target, _) = Head().double(), inputs()
    loss = of_network(head, states, target)
    loss.sum().backward()
    assert head.rows == [B * K]
    assert torch.equal(loss, plain(head, states, target))


@pytest.mark.parametrize("train", [True, False])
def test_no_tensor_is_as_large_as_the_logits(monkeypatch: pytest.MonkeyPatch, train: bool) -> None:
    vocabulary, tokens = 2000, 256
    monkeypatch.setattr(large_vocabulary, "MOST_LOGITS", 2 * 64 * vocabulary)
    monkeypatch.setattr(large_vocabulary, "CHUNK_LOGITS", 64 * vocabulary)
    head, (states, target, _) = Head(vocabulary), inputs(vocabulary, torch.float32, tokens)
    for parameter in head.parameters():
        parameter.grad = torch.zeros_like(parameter)
    backbone, index = network(vocabulary), torch.zeros_like(target)
    with LiveBytes() as live, torch.set_grad_enabled(train):
        loss = backbone.predicted_loss(head, states, target, index)
        if train:
            loss.sum().backward()
    logits, chunk = 4 * B * tokens * vocabulary, 4 * 64 * vocabulary
    assert live.largest <= chunk
    assert live.peak < 5 * chunk < logits / 3
    assert loss.shape == (B, tokens)
