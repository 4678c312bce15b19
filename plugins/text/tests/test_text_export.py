"""Exported text encoders take every length and number of texts, whatever they were traced with."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsup.artifacts import Encoder, export
from selfsup.errors import ArtifactError
from selfsup.registry import registry
from selfsup_text.mock import mock_rows
from selfsup_text.processor import TextProcessor, TextProcessorConfig

LENGTHS = ([1], [12], [2, 12], [3, 3, 3], [1, 5, 40, 12, 7])
"""Words of each text of a batch; 12 tokens are kept."""


def small(backbone: str) -> Encoder:
    """An untrained encoder of at most 12 tokens: all texts that an example is made of are as long."""
    processor = TextProcessor(TextProcessorConfig(max_length=12, vocab_size=150)).fit(mock_rows(24, 0))
    torch.manual_seed(0)
    network, options = registry().build_backbone(backbone, {"hidden_size": 16, "heads": 2, "layers": 1}, processor.info())
    return Encoder(processor, network, backbone_id=backbone, backbone_options=options).eval()


def batches(encoder: Encoder) -> list[dict[str, torch.Tensor]]:
    """Of each of the lengths."""
    words = [word for row in mock_rows(8, 1) for word in str(row["text"]).split()]
    texts = [[" ".join(np.random.default_rng(n).choice(words, n)) for n in lengths] for lengths in LENGTHS]
    return [encoder.processor([{"text": text} for text in some]) for some in texts]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["text-encoder-small", "text-decoder-small"])
def test_a_program_takes_every_length(backbone: str, tmp_path: Path) -> None:
    encoder = small(backbone)
    assert {encoder.processor(mock_rows(4, seed))["ids"].shape[1] for seed in range(3)} == {12}
    given = encoder.processor(mock_rows(2, 5)) if backbone == "text-decoder-small" else None
    program = torch.export.load(export(encoder, "torch-export", tmp_path / "encoder.pt2", batch=given)).module()
    for batch in batches(encoder):
        with torch.no_grad():
            torch.testing.assert_close(program(batch), encoder(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_onnx_takes_every_length(tmp_path: Path) -> None:
    encoder = small("text-encoder-small")
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")):
        with pytest.raises(ArtifactError, match="pip install onnx onnxscript"):
            export(encoder, "onnx", tmp_path / "encoder.onnx")
        return
    runtime: Any = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(export(encoder, "onnx", tmp_path / "encoder.onnx"))
    for batch in batches(encoder):
        (found,) = session.run(None, {key: batch[key].numpy() for key in ("ids", "padding", "words")})
        with torch.no_grad():
            np.testing.assert_allclose(found, encoder(batch).numpy(), atol=1e-5)
