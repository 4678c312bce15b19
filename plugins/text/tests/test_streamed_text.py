"""Texts that are streamed and joined into blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import selfsup

WORDS = "the a small old red house tree river bird sings falls runs stands near under over and then again"


@pytest.mark.slow
def test_an_epoch_of_streamed_blocks_is_as_long_as_that_of_prepared_ones(tmp_path: Path) -> None:
    words = WORDS.split()
    lines = [" ".join(words[(row * step + step) % len(words)] for step in range(1, 4 + row % 23)) for row in range(120)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    small = {
        "backbone.hidden_size": 16, "backbone.layers": 1, "processor.max_length": 24, "processor.vocab_size": 80,
        "streaming.workers": 0, "streaming.rows": 120,
    }  # fmt: skip
    for name, stream, options in (("streamed", True, {"epochs": 1}), ("prepared", False, {"steps": 1})):
        selfsup.pretrain(
            "text/mlm", tmp_path / "lines.txt", out=tmp_path / name, stream=stream, batch_size=8, progress=False,
            overrides=small, **options,
        )  # fmt: skip
    streamed, prepared = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("streamed", "prepared"))
    assert streamed["config"]["processor_options"]["packing"] == "blocks"
    assert abs(streamed["data"]["rows"] - prepared["data"]["rows"]) <= 1  # blocks, not rows
    lines = (tmp_path / "streamed" / "metrics.jsonl").read_text().splitlines()
    assert abs(json.loads(lines[-1])["step"] - prepared["data"]["rows"] // 8) <= 1
