"""A corpus of synthetic sentences, an encoder and a decoder of them, and splits that keep their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset

from selfsup.artifacts import Encoder
from selfsup.backbones import BackboneRecipe
from selfsup.data import Rows, prepare
from selfsup.evaluation import Split
from selfsup_text.backbones.small import DECODER, ENCODER
from selfsup_text.mock import mock_rows
from selfsup_text.processor import TextProcessor, TextProcessorConfig


@pytest.fixture(scope="session")
def processor() -> TextProcessor:
    return TextProcessor(TextProcessorConfig(vocab_size=300, max_length=48)).fit(mock_rows(200, 0))


def untrained(id: str, recipe: BackboneRecipe, processor: TextProcessor) -> Encoder:
    config = recipe.config(hidden_size=32, layers=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = recipe.build(config, processor.info())
    return Encoder(processor, backbone, backbone_id=id, backbone_options=config).eval()


@pytest.fixture(scope="session")
def text_encoder(processor: TextProcessor) -> Encoder:
    return untrained("text-encoder-small", ENCODER, processor)


@pytest.fixture(scope="session")
def text_decoder(processor: TextProcessor) -> Encoder:
    return untrained("text-decoder-small", DECODER, processor)


@pytest.fixture
def split_of(processor: TextProcessor, tmp_path: Any) -> Callable[..., Split]:
    """``split_of(text=[...], tags=[...])``: a split of these columns."""

    def make(**columns: list[Any]) -> Split:
        rows = Rows(Dataset.from_dict(columns), {"text": "text"}, name="pairs", fingerprint=str(columns))
        return Split(prepare(rows, processor, max_bad_rows=0.9, cache_dir=tmp_path), None, rows=rows)

    return make
