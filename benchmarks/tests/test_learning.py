"""A shorter cut of the quick suite: what was pretrained is better than the untrained network with 10 labels a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selfsup_bench.cells.lines import lines
from selfsup_bench.cells.run_cell import measure
from selfsup_bench.executors import Job
from selfsup_bench.suites import BENCHMARKS

HEADLINE = "few-labels.accuracy@10"
CURVE = "evaluators.few-labels.per_class"


@pytest.fixture(autouse=True)
def _one_thread(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SELFSUP_CACHE", str(embedded))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "margin"),
    [
        ("mnist-parity-simclr", 200, 0.05),
        ("mnist-table-vicreg", 250, 0.08),
        ("captioned-digits-clip", 120, 0.12),
    ],
)
def test_a_few_steps_are_better_than_none(tmp_path: Path, name: str, steps: int, margin: float) -> None:
    spec = next(spec for spec in BENCHMARKS if spec.id == name)
    modality = spec.task.partition("/")[0]
    for needed in (modality, *(("vision", "text") if modality == "multimodal" else ())):
        pytest.importorskip(f"selfsup_{needed}", reason=f"needs the {needed} plugin")
    others = ("evaluators.zero-shot.", "evaluators.missing-part.")
    options = {key: value for key, value in spec.overrides.items() if not key.startswith(others)}
    cut = replace(spec, steps=steps, evaluators=("few-labels",), overrides={**options, CURVE: (10,)})
    (line,) = lines([cut], (0,), {cut.id: (modality, cut.backbone)})
    score = {}
    for kind in ("task", "random-init"):
        cell = line.cells[kind][0]
        job = Job(key=cell.key({}), cell=cell, out=tmp_path / kind, circumstances={}, threads=1, device="cpu")
        score[kind] = measure(job).metrics[HEADLINE]
    assert score["task"] > score["random-init"] + margin, score
