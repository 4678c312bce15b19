"""What the tests of tasks share: a synthetic vocabulary, texts of it, and small backbones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from selfsup.types import Batch, Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.backbones.small import DECODER, ENCODER

VOCABULARY = 60
SPECIAL = 5


@pytest.fixture
def info() -> Info:
    """Ids 0 to 4 are special: padding, unknown, class, separator, mask."""
    return {
        "vocab_size": VOCABULARY, "max_length": 24, "pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3, "mask_id": 4,
        "special_ids": [0, 1, 2, 3, 4], "tokenizer": "wordpiece",
    }  # fmt: skip


@pytest.fixture
def texts() -> Callable[..., Batch]:
    """``texts(n, longest, seed)``: ids that count upwards from a random one, so that they differ from each other.

    The first text is as long as ``longest``, the others are of 1 to ``longest`` tokens, in words of one to three.
    """

    def make(n: int = 8, longest: int = 20, seed: int = 0, whole: bool = False) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        length = torch.randint(1, longest + 1, (n, 1), generator=generator)
        length[0] = longest
        if whole:
            length[:] = longest
        start = torch.randint(VOCABULARY - SPECIAL, (n, 1), generator=generator)
        place = torch.arange(longest).unsqueeze(0)
        padding = place >= length
        ids = (SPECIAL + (start + place) % (VOCABULARY - SPECIAL)).masked_fill(padding, 0)
        begins = torch.rand(n, longest, generator=generator) < 0.6
        words = begins.long().cumsum(dim=1).masked_fill(padding, -1)
        return {"ids": ids, "padding": padding, "words": words}

    return make


@pytest.fixture
def encoder(info: Info) -> Callable[..., TextBackbone]:
    """``encoder(**options)``: a small BERT."""

    def make(**options: Any) -> TextBackbone:
        torch.manual_seed(0)
        return ENCODER.build(ENCODER.config(**{"hidden_size": 32, "layers": 1, **options}), info)

    return make


@pytest.fixture
def decoder(info: Info) -> Callable[..., TextBackbone]:
    """``decoder(**options)``: a small GPT-2."""

    def make(**options: Any) -> TextBackbone:
        torch.manual_seed(0)
        return DECODER.build(DECODER.config(**{"hidden_size": 32, "layers": 1, **options}), info)

    return make
