"""Reading, fitting on and processing a corpus needs memory that hardly grows with its lines."""

import tracemalloc

import numpy as np
import pyarrow as pa

from selfsup.data import load_source, prepare
from selfsup.registry import registry
from selfsup_text.processor import TextProcessor, TextProcessorConfig

WORDS = [f"{a}{b}" for a in "bcdfghklmn" for b in ("a", "ei", "ou", "ir")]


def test_memory_does_not_grow_with_the_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("selfsup_text.corpus._FIT_CHARACTERS", 50_000)

    def peak(lines: int) -> int:
        drawn = np.random.default_rng(0).integers(0, len(WORDS), (lines, 12))
        (tmp_path / f"{lines}.txt").write_text("".join(" ".join(WORDS[i] for i in row) + "\n" for row in drawn))
        pool = pa.default_memory_pool()
        tracemalloc.start()
        before = pool.bytes_allocated()
        rows = load_source(tmp_path / f"{lines}.txt", modality=registry().get("modality", "text"))
        store = prepare(rows, TextProcessor(TextProcessorConfig(vocab_size=120)).fit(rows), workers=1)
        used = tracemalloc.get_traced_memory()[1] + pool.bytes_allocated() - before
        tracemalloc.stop()
        assert len(store) == lines
        return used

    peak(500)  # imports
    few, many = peak(4000), peak(16_000)
    # A line costs about 100 bytes (text, index, hash); as one Python string it would cost 120 more, and its words 800.
    assert many - few < 12_000 * 180, f"{few} bytes for 4,000 lines, {many} for 16,000"
