"""The program as a whole: how fast it answers, and whether its memory grows with the data."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selfsup.errors import BenchmarkError
from speed.measure import Figure
from speed.synthetic_data import write_folder

_PEAK = """
import sys
import selfsup
from selfsup.artifacts import peak_memory
overrides = {"backbone.width": 8}
selfsup.pretrain("vision/simclr", sys.argv[1], out=sys.argv[2], backbone="resnet-narrow", steps=20, batch_size=64,
                 progress=False, precision="32", overrides=overrides)
print(peak_memory())
"""


def help_figure(*, repeats: int) -> Figure:
    """``selfsup --help``, from start to end of the process."""
    command = [sys.executable, "-m", "selfsup", "--help"]
    took: list[float] = []
    for _ in range(3 * repeats):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        took.append(time.perf_counter() - began)
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "selfsup", "--help"], check=True, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    if "torch" in imported:
        raise BenchmarkError("`selfsup --help` imports torch.")
    return Figure(
        name="help",
        what="`selfsup --help`, the whole process",
        ours=statistics.median(took),
        theirs=None,
        unit="s",
        value=statistics.median(took),
        compare="<=",
        goal=0.25,
        spread=f"{min(took):.3f}..{max(took):.3f}",
        note="torch is not imported",
    )


def memory_figure(*, repeats: int, few: int = 2_000, factor: int = 5, size: int = 64) -> Figure:
    """Peak resident memory of pretraining on five times as many images in a folder, over that on few."""
    peaks: dict[int, list[int]] = {few: [], factor * few: []}
    with tempfile.TemporaryDirectory() as base:
        folders = {n: write_folder(Path(base) / str(n), n, size) for n in peaks}
        for i in range(min(2, repeats)):
            for n, folder in folders.items():
                command = [sys.executable, "-c", _PEAK, str(folder), str(Path(base) / f"run-{n}-{i}")]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peaks[n].append(int(done.stdout.split()[-1]))
    ours, theirs = statistics.median(peaks[factor * few]), statistics.median(peaks[few])
    return Figure(
        name="memory",
        what=f"peak resident memory of pretraining on {factor * few:,} images of {size}x{size} against {few:,}",
        ours=ours / 1e6,
        theirs=theirs / 1e6,
        unit="MB",
        value=ours / theirs,
        compare="<=",
        goal=1.05,
        note=f"the larger folder holds {(factor - 1) * few * size * size * 3 / 1e6:,.0f} MB more of decoded pixels",
    )
