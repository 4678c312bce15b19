"""What every backbone must do. Each check takes a :class:`BackboneCase` and raises ``AssertionError`` with the reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.backbones import Backbone, Encoded, TokenBackbone
from selfsup.data import Processor
from selfsup.registry import registry
from selfsup.testing.kit.cases import fitted_processor, load_mock_rows
from selfsup.types import Batch

_TOLERANCE = 1e-4
"""Largest relative difference (of 2-norms) between two computations of one embedding, in float32."""
_MORE = (1, 7, 64, 300)
"""Steps of padding that are added; of samples of more than 300 steps also as many as they have, and twice as many."""


@dataclass(frozen=True)
class BackboneCase:
    """One backbone on its modality's mock rows."""

    id: str
    """As the registry builds it; of a family ``name/*`` one of its members."""
    modality: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Of the backbone."""

    def __str__(self) -> str:
        return self.id

    def build(self, seed: int = 0) -> Backbone:
        """The backbone in evaluation mode, its weights and statistics not those it starts with; no state is left behind.

        Scales, biases and running statistics are drawn anew, since fresh ones hide what looks at padding: with a bias of 0 and
        a running mean of 0, zeros stay zeros.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            info = fitted_processor(self.modality).info()
            backbone, _ = registry().build_backbone(self.id, dict(self.options), info)
            with torch.no_grad():
                for name, value in [*backbone.named_parameters(), *backbone.named_buffers()]:
                    if value.ndim == 1 and value.is_floating_point() and name in backbone.state_dict():
                        value.mul_(torch.rand_like(value).add_(0.5)).add_(torch.rand_like(value), alpha=0.1)
        return backbone.eval()


@torch.no_grad()
def check_padding(case: BackboneCase) -> None:
    """The embedding and the tokens of a sample do not depend on its padding, nor on what it shares a batch with.

    Each sample alone and without padding is held against itself with padding of several lengths, at most ``max_length`` steps
    where the processor's info has that, and against a batch of all. There is nothing to check where the modality's batches have
    no padding (:func:`can_be_padded`).
    """
    processor, rows = fitted_processor(case.modality), load_mock_rows(case.modality, 6)
    together = processor(rows)
    if not can_be_padded(processor, together):
        return
    backbone, most = case.build(), int(processor.info().get("max_length", sys.maxsize))
    joined = backbone(together)
    for number, row in enumerate(rows):
        single = _marked(processor([row]), together)
        real = real_steps(single)
        alone = filled(processor, single, real)
        wanted = backbone(alone)
        _compare(wanted, _sample(joined, number), f"row {number} of {real} steps, in a batch with others")
        for more in sorted({*_MORE, real, 2 * real} if real > _MORE[-1] else {*_MORE[:3]}):
            steps = min(real + more, most)
            padded = backbone(filled(processor, alone, steps))
            _compare(wanted, padded, f"row {number} of {real} steps, filled up to {steps}")


def _marked(single: Batch, together: Batch) -> Batch:
    """A batch of one with a mark of padding, where batches of several have one and this has nothing to mark."""
    if "padding" not in together or "padding" in single:
        return single
    width = together["padding"].shape[1]
    key = next(key for key, value in together.items() if value.shape[:2] == (len(value), width) and key in single)
    return {**single, "padding": torch.zeros(single[key].shape[:2], dtype=torch.bool)}


def can_be_padded(processor: Processor, batch: Batch) -> bool:
    """Whether batches of a modality say what of them is padding: by ``padding``, or by ``length`` for a ``padded_key``."""
    return "padding" in batch or bool(processor.padded_key)


def real_steps(batch: Batch) -> int:
    """Steps of the longest sample that are not padding."""
    return int((~batch["padding"]).sum(dim=1).max()) if "padding" in batch else int(batch["length"].max())


def filled(processor: Processor, batch: Batch, steps: int) -> Batch:
    """The batch with its samples filled up with zeros, or cut, to ``steps``; what is cut must be padding."""
    assert steps >= real_steps(batch), "only padding may be cut"
    width = batch["padding"].shape[1] if "padding" in batch else batch[processor.padded_key].shape[1]
    keys = [key for key, value in batch.items() if value.ndim > 1 and value.shape[1] == width]
    resized = {key: _resized(batch[key], steps, True if key == "padding" else 0) for key in keys}
    return {**batch, **resized}


def _resized(value: Tensor, steps: int, fill: bool | int) -> Tensor:
    beyond = max(steps - value.shape[1], 0)
    return F.pad(value[:, :steps], [0, 0] * (value.ndim - 2) + [0, beyond], value=fill)


def _sample(encoded: Encoded, number: int) -> Encoded:
    one = slice(number, number + 1)
    tokens = None if encoded.tokens is None else encoded.tokens[one]
    return Encoded(encoded.pooled[one], tokens, encoded.grid, None if encoded.padding is None else encoded.padding[one])


def _compare(wanted: Encoded, given: Encoded, where: str) -> None:
    difference = _difference(wanted.pooled, given.pooled)
    assert difference < _TOLERANCE, f"padding changes the embedding by {difference:.1e} of its norm ({where})"
    if wanted.tokens is None or given.tokens is None:
        return
    ours, theirs = _real_tokens(wanted), _real_tokens(given)
    assert ours.shape == theirs.shape, f"padding changes the number of real tokens from {len(ours)} to {len(theirs)} ({where})"
    difference = _difference(ours, theirs)
    assert difference < _TOLERANCE, f"padding changes the tokens by {difference:.1e} of their norm ({where})"


def _real_tokens(encoded: Encoded) -> Tensor:
    assert encoded.tokens is not None
    return encoded.tokens[0] if encoded.padding is None else encoded.tokens[0][~encoded.padding[0]]


def _difference(wanted: Tensor, given: Tensor) -> float:
    return float((given - wanted).norm() / wanted.norm().clamp(min=1e-12))


def check_tokenizer(case: BackboneCase) -> None:
    """A token backbone names the parameters that its tokens are made with, all of them and no other.

    A network over the tokens of several parts of a row takes these over and leaves the others out.
    """
    backbone = case.build()
    if not isinstance(backbone, TokenBackbone):
        return
    tokens = backbone.tokenize(fitted_processor(case.modality)(load_mock_rows(case.modality, 4)))
    named = {name: parameter for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    made = tokens.embeddings.float().sum() + tokens.positions.float().sum()
    found = torch.autograd.grad(made, list(named.values()), allow_unused=True)
    used = {name for name, gradient in zip(named, found, strict=True) if gradient is not None}
    told = {id(parameter) for parameter in backbone.tokenizer_parameters()}
    said = {name for name, parameter in named.items() if id(parameter) in told}
    assert said == used, f"tokenizer_parameters() and the parameters that tokens are made with differ in {sorted(said ^ used)}"


BACKBONE_CHECKS = (check_padding, check_tokenizer)
"""Every check of a backbone."""
