"""Batches and backbones of the toy modality in one call, without the registry."""

from __future__ import annotations

from typing import Any, Literal

import torch

from selfsup.testing.toy.sequences.backbones import SequenceTransformer, SequenceTransformerConfig, build_transformer
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig
from selfsup.testing.toy.sequences.rows import mock_frames, mock_rows
from selfsup.types import Batch, Info

Kind = Literal["ids", "frames"]


def toy_processor(kind: Kind) -> SequenceProcessor:
    """A processor fitted on 64 mock rows."""
    rows = mock_rows(64, 0) if kind == "ids" else mock_frames(64, 0)
    return SequenceProcessor(SequenceProcessorConfig()).fit(rows)


def toy_info(kind: Kind) -> Info:
    """What that processor says of its batches."""
    return toy_processor(kind).info()


def toy_batch(kind: Kind, n: int = 8, seed: int = 1) -> Batch:
    """``n`` mock rows as a batch: ids ragged and padded, frames all of 16."""
    return toy_processor(kind)(mock_rows(n, seed) if kind == "ids" else mock_frames(n, seed))


def toy_backbone(kind: Kind, seed: int = 0, **options: Any) -> SequenceTransformer:
    """A transformer with weights from ``seed``; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_transformer(SequenceTransformerConfig(**options), toy_info(kind))
