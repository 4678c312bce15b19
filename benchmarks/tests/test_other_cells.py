"""Cells of every kind on the embedded text and tables, for a few steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from selfsup.registry import registry
from selfsup.specs import BenchmarkSpec
from selfsup_bench.executors.local import LocalExecutor
from selfsup_bench.planning import make_plan
from selfsup_bench.records import Record, RecordStore
from selfsup_bench.runner import run
from selfsup_bench.suites import BENCHMARKS
from selfsup_bench.tables import markdown


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)


def records_of(out: Path, overrides: Mapping[str, Any], **options: Any) -> tuple[dict[str, Record], str]:
    """Records by kind, and the table, of one benchmark of three steps."""
    settings = {"precision": "32", "log_every": 1, **overrides}
    spec = BenchmarkSpec(
        id="tiny", summary="x", suites=("tiny",), steps=3, headline="linear.accuracy", overrides=settings, **options
    )
    planned = make_plan([spec], suite="tiny", seeds=(0,), registry=registry(), device="cpu", threads=1)
    board = run(planned, out, make_executor=lambda start: LocalExecutor(on_start=start), device="cpu")
    assert board.failures == ()
    return {record.cell.kind: record for record in RecordStore(out).all().values()}, markdown(board.tables[0])


def test_tables_have_boosted_trees_as_a_reference(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    records, table = records_of(
        tmp_path / "out",
        {"optimization.batch_size": 16, "backbone.dim": 8, "evaluators.boosting.iterations": 20},
        task="tabular/vime",
        dataset="wine",
        evaluators=("linear",),
        references=("boosting",),
    )
    assert set(records) == {"task", "random-init", "supervised", "raw", "boosting"}
    assert records["raw"].metrics["linear.accuracy"] > 0.9
    assert set(records["boosting"].metrics) == {"boosting.accuracy", "boosting.macro_f1", "boosting.cross_entropy"}
    assert records["boosting"].metrics["boosting.accuracy"] > 0.9
    assert records["boosting"].projection is None
    assert "*raw input, boosted trees*" in table


def test_text_has_counted_words_as_a_reference(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_text", reason="needs the text plugin")
    overrides = {
        "optimization.batch_size": 16,
        "processor.vocab_size": 500,
        "processor.max_length": 16,
        "backbone.hidden_size": 16,
    }
    records, table = records_of(
        tmp_path / "out",
        overrides,
        task="text/mlm",
        dataset="pydoc-topics",
        evaluators=("linear",),
        backbone="text-encoder-small",
    )
    assert set(records) == {"task", "random-init", "supervised", "raw"}
    assert records["raw"].metrics["linear.accuracy"] > 0.5
    assert [step for step, _ in records["task"].curve] == [1, 2, 3]
    assert "*raw input*" in table


def test_the_quick_suite_covers_three_modalities() -> None:
    quick = [spec for spec in BENCHMARKS if "quick" in spec.suites]
    assert {spec.task.partition("/")[0] for spec in quick} == {"vision", "text", "tabular"}
    found = registry()
    for spec in quick:
        assert found.get("dataset", spec.dataset).embedded
        assert found.get("task", spec.task).modality == found.get("dataset", spec.dataset).modality
