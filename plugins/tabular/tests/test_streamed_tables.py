"""Tables that are read row by row."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

import selfsup
from selfsup.data import load_source
from selfsup.data.batches.source import Share
from selfsup.data.batches.stream import StreamBatches, StreamOptions
from selfsup.data.sources.streams.load import open_stream
from selfsup.registry import registry

ROWS = 700


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers, dates and categories; one column is empty in the first half, and one has a category that the sample lacks."""
    generator, day = np.random.default_rng(0), datetime.date(2024, 1, 1)
    columns = {
        "weight": generator.normal(size=ROWS),
        "count": [None if number % 7 == 0 else number % 40 for number in range(ROWS)],
        "late": [None if number < ROWS // 2 else "ab"[number % 2] for number in range(ROWS)],
        "when": [day + datetime.timedelta(days=int(days)) for days in generator.integers(0, 90, ROWS)],
        "kind": [["x", "y", None][number % 3] if number < ROWS - 5 else "new" for number in range(ROWS)],
    }
    folder = tmp_path_factory.mktemp("tables")
    pa.parquet.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=200)
    pa.csv.write_csv(pa.table(columns), folder / "rows.csv")
    return folder


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_samples_are_those_of_the_prepared_table(table: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modality, kind = registry().get("modality", "tabular"), registry().processor_class("tabular")
    monkeypatch.setattr(kind, "training_batch", lambda self, batch, generator: batch)  # it shows some cells as unknown
    stream = open_stream(table / name, modality=modality, sample_rows=500)
    processor = kind(kind.Config()).fit(stream.sample)
    (batch,) = StreamBatches(stream, processor, Share(ROWS, seed=1), StreamOptions(buffer=10)).batches()
    whole = processor(list(load_source(table / name, modality=modality)))
    assert set(processor.plan.columns) == {"weight", "count", "late", "when", "kind"}
    order, other = (each["numeric"][:, 0].argsort() for each in (batch, whole))  # the weights say which row it is
    for key, values in whole.items():
        torch.testing.assert_close(batch[key][order], values[other], rtol=0, atol=0, equal_nan=True)


def test_a_run_on_a_stream_of_a_table(table: Path, tmp_path: Path) -> None:
    run = selfsup.pretrain(
        "tabular/scarf", data=table / "rows.parquet", out=tmp_path / "run", stream=True, steps=2, batch_size=64, progress=False,
        overrides={"streaming.workers": 0, "streaming.sample_rows": 300, "optimization.warmup_epochs": None},
    )  # fmt: skip
    assert run.metrics[-1]["step"] == 2
