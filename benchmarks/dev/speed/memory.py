"""Does memory grow with the data? Peak memory of pretraining on much data against a part of it.

Anonymous memory counts. Pages of files that are mapped belong to the system's cache, which takes them back when it needs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.errors import BenchmarkError
from speed import synthetic_data
from speed.measure import Figure, Settings

_BLOCK = 100_000
_PEAK = """
import json, sys, threading, time
import selfsup
peak = 0
def watch():
    global peak
    while True:
        with open("/proc/self/status") as file:
            peak = max(peak, next(int(line.split()[1]) for line in file if line.startswith("RssAnon")))
        time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()
task, data, out, overrides = sys.argv[1:]
options = {"steps": 20, "precision": "32", "probe_every": 21, "overrides": json.loads(overrides)}
selfsup.pretrain(task, data, out=out, progress=False, **options)
print(1024 * peak)
"""


def table_memory_figure(settings: Settings) -> Figure:
    """SCARF on a parquet file of ten million rows (ten numbers, four categories), against a million."""
    return _memory_figure(
        "table-memory",
        "a parquet file of 14 columns",
        "tabular/scarf",
        rows=settings.rows or 10_000_000,
        write=write_table,
        suffix=".parquet",
        overrides={"optimization.batch_size": 128, "backbone.dim": 64},
    )


def text_memory_figure(settings: Settings) -> Figure:
    """Masked language modelling on a text file of a million lines, against a hundred thousand."""
    return _memory_figure(
        "text-memory",
        "a text file of about 60 characters a line",
        "text/mlm",
        rows=settings.rows or 1_000_000,
        write=write_lines,
        suffix=".txt",
        overrides={"optimization.batch_size": 16, "processor.vocab_size": 4000, "processor.max_length": 64},
    )


def video_memory_figure(settings: Settings) -> Figure:
    """CVRL on a folder of a thousand videos, against two hundred."""
    return _memory_figure(
        "video-memory",
        "a folder of MP4 files, 32 frames of 64x64",
        "video/cvrl",
        rows=settings.rows or 1_000,
        write=synthetic_data.write_videos,
        overrides={"optimization.batch_size": 16, "backbone.width": 4, "objective.hidden_dim": 64},
        factor=5,
        goal=1.05,
    )


def audio_memory_figure(settings: Settings) -> Figure:
    """SimCLR on a folder of ten thousand recordings, against two thousand."""
    return _memory_figure(
        "audio-memory",
        "a folder of WAV files, 1 s at 8 kHz",
        "audio/simclr",
        rows=settings.rows or 10_000,
        write=synthetic_data.write_sounds,
        overrides={
            "optimization.batch_size": 32,
            "backbone.channels": 8,
            "backbone.embed_dim": 32,
            "objective.hidden_dim": 64,
        },
        factor=5,
        goal=1.05,
    )


def _memory_figure(
    name: str,
    what: str,
    task: str,
    *,
    rows: int,
    write: Callable[[Path, int], None],
    suffix: str = "",
    overrides: Mapping[str, Any],
    factor: int = 10,
    goal: float = 1.1,
) -> Figure:
    sizes = (max(1, rows // factor), rows)
    peaks: list[int] = []
    bytes_on_disk: list[int] = []
    with tempfile.TemporaryDirectory() as base:
        for size in sizes:
            file = Path(base) / f"{size}{suffix}"
            write(file, size)
            parts = [part for part in file.rglob("*") if part.is_file()] or [file]
            bytes_on_disk.append(sum(part.stat().st_size for part in parts))
            command = [sys.executable, "-c", _PEAK, task, str(file), f"{base}/run-{size}", json.dumps(dict(overrides))]
            environment = _with_cache(Path(base) / "cache")
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise BenchmarkError(f"pretraining on {size:,} rows failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            peaks.append(int(done.stdout.split()[-1]))
    small, large = peaks
    return Figure(
        name=name,
        what=f"peak anonymous memory of {task} on {what}, {sizes[1]:,} rows against {sizes[0]:,}",
        ours=large / 1e6,
        theirs=small / 1e6,
        unit="MB",
        value=large / small,
        compare="<=",
        goal=goal,
        note=f"the files have {bytes_on_disk[1] / 1e6:,.0f} and {bytes_on_disk[0] / 1e6:,.0f} MB",
    )


def _with_cache(folder: Path) -> dict[str, str]:
    """The environment, with a cache of its own that is removed with the files: stores of millions of rows are large."""
    import os

    return {**os.environ, "SELFSUP_CACHE": str(folder)}


def write_table(path: Path, rows: int) -> None:
    """A synthetic table in row groups of 100,000: ten dependent numbers, four categories, some values missing."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 10))
    writer: Any = None
    for start in range(0, rows, _BLOCK):
        n = min(_BLOCK, rows - start)
        hidden = rng.normal(size=(n, 3))
        numbers = hidden @ mixing + 0.1 * rng.normal(size=(n, 10))
        columns = {f"number{i}": pa.array(numbers[:, i], mask=rng.random(n) < 0.02) for i in range(10)}
        for i, count in enumerate((2, 5, 20, 100)):
            place = np.clip(((hidden[:, i % 3] + 3) / 6 * count).astype(int), 0, count - 1)
            columns[f"kind{i}"] = pa.array(np.array([f"k{j}" for j in range(count)])[place])
        table = pa.table(columns)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def write_lines(path: Path, rows: int) -> None:
    """Synthetic lines of ten words, whose frequencies follow Zipf's law."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(5000)])
    weights = 1 / np.arange(1, len(words) + 1)
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, rows, _BLOCK):
            n = min(_BLOCK, rows - start)
            drawn = rng.choice(words, size=(n, 10), p=weights / weights.sum())
            file.write("\n".join(" ".join(line) for line in drawn) + "\n")
