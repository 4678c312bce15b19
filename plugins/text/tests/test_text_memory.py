"""A corpus of ten times as many lines needs hardly more memory to be read, fitted on and processed."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from pathlib import Path
import numpy as np
from selfsup.data import load_source, prepare
from selfsup_text.plugin import selfsup_modalities
from selfsup_text.processor import TextProcessor

folder = Path(sys.argv[1])
words = [f"{a}{b}" for a in "bcdfghklmn" for b in ("a", "ei", "ou", "ir")]
rng = np.random.default_rng(0)
for lines in map(int, sys.argv[2:]):
    with (folder / f"{lines}.txt").open("w") as file:
        for row in rng.integers(0, len(words), (lines, 12), dtype=np.uint8):
            file.write(" ".join(words[i] for i in row) + "\\n")
    rows = load_source(folder / f"{lines}.txt", modality=selfsup_modalities()[0])
    store = prepare(rows, TextProcessor().fit(rows), workers=1)
    assert len(store) == lines
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_lines(tmp_path):
    env = {"SELFSUP_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, str(tmp_path), "10000", "100000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())
    # 12 words of 100,000 lines are 50 MB and more as Python strings and lists; the indices of a row are some tens of bytes.
    assert many - few < 30, f"{few} MB for 10,000 lines, {many} MB for 100,000"
