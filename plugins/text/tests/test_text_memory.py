"""A corpus of ten times as many lines needs hardly more memory to be read, fitted on and processed."""

import subprocess
import sys

CODE = """
import resource, sys
from pathlib import Path
import numpy as np
from selfsup.data import load_source, prepare
from selfsup_text.plugin import selfsup_modalities
from selfsup_text.processor import TextProcessor

folder, lines = Path(sys.argv[1]), int(sys.argv[2])
words = [f"{a}{b}" for a in "bcdfghklmn" for b in ("a", "ei", "ou", "ir")]
rng = np.random.default_rng(0)
with (folder / f"{lines}.txt").open("w") as file:
    for start in range(0, lines, 1000):
        for row in rng.integers(0, len(words), (min(1000, lines - start), 12)):
            file.write(" ".join(words[i] for i in row) + "\\n")
rows = load_source(folder / f"{lines}.txt", modality=selfsup_modalities()[0])
processor = TextProcessor().fit(rows)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = prepare(rows, processor, workers=1)
print(len(store), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, before // 1024)
"""


def peak(tmp_path, lines):
    env = {"SELFSUP_CACHE": str(tmp_path / f"cache{lines}"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, str(tmp_path), str(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    n, megabytes, _ = map(int, done.stdout.split())
    assert n == lines
    return megabytes


def test_memory_does_not_grow_with_the_lines(tmp_path):
    few, many = peak(tmp_path, 20_000), peak(tmp_path, 200_000)
    # 12 words of 200,000 lines are 100 MB and more as Python strings and lists; the indices of a row are some tens of bytes.
    assert many - few < 60, f"{few} MB for 20,000 lines, {many} MB for 200,000"
