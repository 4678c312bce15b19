"""Checks of backbones. Each takes a :class:`BackboneCase` and raises ``AssertionError`` with the reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.backbones import Backbone, Encoded, TokenBackbone
from selfsup.data import Processor
from selfsup.registry import registry
from selfsup.testing.kit.cases import fitted_processor, load_mock_rows, padding_marks
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
    no padding (:func:`marks_of`). Each ragged key is filled up by itself.
    """
    processor, rows = fitted_processor(case.modality), load_mock_rows(case.modality, 6)
    together = processor(rows)
    marks = marks_of(processor, together)
    if not marks:
        return
    _check_uneven(together, marks)
    backbone, most = case.build(), int(processor.info().get("max_length", sys.maxsize))
    joined, singles = backbone(together), [processor([row]) for row in rows]
    keys = {mark: ragged_keys(processor, together, singles, mark) for mark in marks}
    for number, single in enumerate(singles):
        alone = _marked(single, together, keys)
        for mark in marks:
            alone = filled(alone, real_steps(alone, mark), mark, keys[mark])
        wanted = backbone(alone)
        _compare(wanted, _sample(joined, number), f"row {number}, in a batch with others")
        for mark in marks:
            real = real_steps(alone, mark)
            for more in sorted({*_MORE, real, 2 * real} if real > _MORE[-1] else {*_MORE[:3]}):
                steps = min(real + more, most)
                padded = backbone(filled(alone, steps, mark, keys[mark]))
                _compare(wanted, padded, f"row {number} of {real} steps, filled up to {steps} ({mark})")


def _check_uneven(batch: Batch, marks: Sequence[str]) -> None:
    """Mock rows of one length are never padded in a batch, so that no check of the kit would see padding."""
    for mark in marks:
        steps = batch["length"] if mark == "length" else (~batch[mark]).sum(dim=1)
        assert int(steps.min()) < int(steps.max()), (
            f"all mock rows have {int(steps[0])} steps: give them uneven lengths ({mark})"
        )


def marks_of(processor: Processor, batch: Batch) -> list[str]:
    """What says what of a batch is padding: ``padding``, ``<key>_padding`` of further ragged keys, or ``length``."""
    return padding_marks(batch) or (["length"] if processor.padded_key else [])


def _marked(single: Batch, together: Batch, keys: Mapping[str, Sequence[str]]) -> Batch:
    """A batch of one with the marks of padding that batches of several have, where this has nothing to mark."""
    shapes = {mark: single[keys[mark][0]].shape[:2] for mark in padding_marks(together) if mark not in single}
    return {**single, **{mark: torch.zeros(shape, dtype=torch.bool) for mark, shape in shapes.items()}}


def ragged_keys(processor: Processor, together: Batch, singles: Sequence[Batch], mark: str) -> list[str]:
    """Keys of a batch that are padded together, and whose padding ``mark`` says; the mark is not among them.

    A further ragged key has a mark of its own. With ``padding`` go all others of its width, with ``length`` all of the width of
    ``padded_key``, but for those that have one width in every batch, which is theirs by chance.

    Args:
        processor: of the modality.
        together: a batch of rows of uneven lengths.
        singles: the same rows, each in a batch of its own.
        mark: ``padding``, ``<key>_padding`` or ``length``.
    """
    if mark not in ("padding", "length"):
        return [mark.removesuffix("_padding")]
    width = together[processor.padded_key if mark == "length" else mark].shape[1]
    others = {name for own in padding_marks(together) if own != "padding" for name in (own, own.removesuffix("_padding"))}
    found = [
        key for key, value in together.items() if value.ndim > 1 and value.shape[1] == width and key not in {*others, mark}
    ]
    return [key for key in found if len({single[key].shape[1] for single in singles}) > 1] or found


def real_steps(batch: Batch, mark: str) -> int:
    """Steps of the longest sample that are not padding."""
    return int(batch["length"].max()) if mark == "length" else int((~batch[mark]).sum(dim=1).max())


def filled(batch: Batch, steps: int, mark: str, keys: Sequence[str]) -> Batch:
    """The batch with ``keys``, whose padding ``mark`` says, filled up with zeros, or cut, to ``steps``; only padding is cut."""
    assert steps >= real_steps(batch, mark), "only padding may be cut"
    resized = {key: _resized(batch[key], steps, 0) for key in keys}
    if mark != "length":
        resized[mark] = _resized(batch[mark], steps, True)
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
