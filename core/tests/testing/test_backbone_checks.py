"""The checks of backbones: they pass what is right, and see planted faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from selfsup.backbones import Backbone, Encoded, TokenBackbone, mean_over_tokens
from selfsup.errors import ConfigError
from selfsup.testing import BackboneCase, backbone_cases, parametrize_backbones
from selfsup.testing.kit.backbone_checks import check_padding, check_tokenizer
from selfsup.testing.toy.sequences.installed import installed
from selfsup.types import Batch


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("toy")
    with installed(folder):
        yield folder


class Network(Backbone):
    """A convolution over tokens, with a norm behind it and a fault that can be chosen."""

    modality = "sequence"
    embed_dim = 8

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.embed = nn.Embedding(64, 8)
        self.convolution = nn.Conv1d(8, 8, 3, padding=1)
        self.norm: nn.Module = nn.GroupNorm(8, 8) if fault == "group norm" else nn.BatchNorm1d(8)

    def forward(self, batch: Batch) -> Encoded:
        """Encode."""
        padding = batch.get("padding", torch.zeros_like(batch["sequence"], dtype=torch.bool))
        x = self.embed(batch["sequence"]).transpose(1, 2)
        if self.fault != "convolution":
            x = x.masked_fill(padding.unsqueeze(1), 0.0)
        if self.fault == "second convolution":
            x = self.convolution(torch.relu(self.convolution(x)))
        tokens = self.norm(self.convolution(x)).transpose(1, 2)
        pooled = tokens.mean(dim=1) if self.fault == "pooling" else mean_over_tokens(tokens, padding)
        if self.fault == "neighbours":
            pooled = pooled - pooled.mean(dim=0)
        return Encoded(pooled, tokens, (tokens.shape[1],), None if self.fault == "marks" else padding)


@dataclass(frozen=True)
class Planted(BackboneCase):
    fault: str = ""

    def build(self, seed: int = 0) -> Backbone:
        torch.manual_seed(seed)
        network = Network(self.fault)
        nn.init.uniform_(network.norm.bias)
        return network.eval()


def test_what_ignores_padding_passes() -> None:
    check_padding(Planted("planted", "sequence"))


@pytest.mark.parametrize("fault", ["group norm", "convolution", "second convolution", "pooling", "neighbours"])
def test_a_planted_fault_is_seen(fault: str) -> None:
    with pytest.raises(AssertionError, match=r"padding changes the (embedding|tokens) by"):
        check_padding(Planted("planted", "sequence", fault=fault))


def test_padding_that_is_not_marked_in_the_output_is_seen() -> None:
    with pytest.raises(AssertionError, match="padding changes the number of real tokens"):
        check_padding(Planted("planted", "sequence", fault="marks"))


def test_the_toy_backbones_pass() -> None:
    cases = backbone_cases(modality="sequence")
    assert len(cases) >= 2
    for case in cases:
        check_padding(case)


def test_a_case_has_biases_and_statistics_that_are_not_zero() -> None:
    network = BackboneCase("sequence/conv", "sequence").build()
    vectors: list[Any] = [value for _, value in network.state_dict().items() if value.ndim == 1]
    assert vectors
    assert all(value.count_nonzero() for value in vectors)


def test_a_family_without_a_member_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.registry import registry
    from selfsup.registry.specs import BackboneSpec

    spec = BackboneSpec(id="families/*", target="a.b:c", summary="A family.", modality="sequence")
    monkeypatch.setitem(registry().backbones, "families/*", spec)
    with pytest.raises(ValueError, match="no member of the family of backbones families"):
        parametrize_backbones(modality="sequence")
    parametrize_backbones(modality="sequence", members={"families/one": {}})


class Forgetful(BackboneCase):
    def build(self, seed: int = 0) -> Backbone:
        """The toy's transformer, which names what makes its tokens, and one parameter more, or one fewer."""
        backbone = super().build(seed)
        own = backbone.tokenizer_parameters()
        backbone.tokenizer_parameters = lambda: own[1:] if self.options else [*own, backbone.transformer.norm.weight]
        return backbone


def test_parameters_of_tokens_must_be_named_in_full() -> None:
    check_tokenizer(BackboneCase("sequence/transformer", "sequence"))
    check_tokenizer(BackboneCase("sequence/conv", "sequence"))
    with pytest.raises(AssertionError, match=r"differ in \['transformer.norm.weight'\]"):
        check_tokenizer(Forgetful("sequence/transformer", "sequence"))
    with pytest.raises(AssertionError, match=r"differ in \['embedding.weight'\]"):
        check_tokenizer(Forgetful("sequence/transformer", "sequence", {"dim": 32}))


def test_a_network_that_does_not_name_them_says_so() -> None:
    with pytest.raises(ConfigError, match="tokenizer_parameters"):
        TokenBackbone.tokenizer_parameters(BackboneCase("sequence/transformer", "sequence").build())
