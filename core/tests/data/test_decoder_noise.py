"""What decoders write to standard error is caught and counted, and nothing of what the user writes is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfsup.runtime import decoder_output

_SCRIPT = r"""
import json, logging, os, sys, threading, time, warnings
from pathlib import Path
import datasets, numpy as np
from selfsup.config import Config
from selfsup.data import Processor, Rows, prepare
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.progress import make_reporter

logging.basicConfig(stream=sys.stderr, format="%(message)s")

class Noisy(Processor):
    modality = "numbers"
    def __init__(self): super().__init__(Config())
    def fit(self, rows): return self
    def info(self): return {}
    def save(self, directory): (directory / "x.json").write_text("{}")
    @classmethod
    def load(cls, directory): return cls()
    def encode(self, row):
        os.write(2, b"[libnoise] bad frame\n")              # as a C library does
        warnings.warn(f"truncated {row['x']}")              # as Pillow does
        logging.getLogger("pillow").error("odd tag")
        return {"x": np.asarray([row["x"]])}

def decode(cache):
    os.environ["SELFSUP_CACHE"] = cache
    rows = Rows(dataset=datasets.Dataset.from_dict({"x": range(200)}), columns={"x": "x"}, name="numbers")
    with make_reporter(True) as reporter:
        reporter.start("decoding", 200, unit="rows")
        def progress(done, total):
            reporter.advance(done)
            if done in (32, 200):
                print("user: print", file=sys.stderr)
                logging.getLogger("user").warning("user: log")
                reporter.message(f"user: message {done}")
        with caught_noise(reporter.message):
            prepare(rows, Noisy(), workers=2, progress=progress)
    print("user: after", file=sys.stderr)
    os.write(2, b"user: descriptor\n")
    logging.getLogger("user").warning("user: log after")

decode(sys.argv[1])
print("now a terminal", file=sys.stderr)
os.environ.update(FORCE_COLOR="1", TTY_COMPATIBLE="1", TERM="xterm")  # rich shows a live bar then
decode(sys.argv[2])
"""


def test_noise_is_counted_and_the_users_own_lines_stay(tmp_path: Path) -> None:
    caches = [tmp_path / "pipe", tmp_path / "terminal"]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *map(str, caches)],
        env={**os.environ, "PYTHONWARNINGS": "always", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for shown, cache in zip(done.stderr.split("now a terminal\n"), caches, strict=True):
        assert shown.count("user: print") == 2
        assert shown.count("user: log") == 3
        for line in ("user: message 32", "user: message 200", "user: after", "user: descriptor", "200/200"):
            assert line in shown
        for noise in ("libnoise", "truncated", "odd tag"):
            assert noise not in shown
        assert ("\x1b[" in shown) == (cache.name == "terminal"), "there is a live bar on a terminal only"
        (log,) = (cache / "logs").iterdir()
        text = log.read_text()
        assert text.count("[libnoise] bad frame") == text.count("odd tag") == 200
        assert text.count("truncated") >= 200
        assert f"The decoders wrote {text.count(chr(10)):,} lines of warnings; see {log}" in shown.replace("\n", "")


def test_silence_leaves_no_log_and_a_flood_is_cut(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    told: list[str] = []
    with decoder_output.caught_noise(told.append):
        time.sleep(0)
    assert told == []
    assert list((tmp_path / "logs").iterdir()) == []
    monkeypatch.setattr(decoder_output, "_MOST_BYTES", 1000)
    monkeypatch.setattr(decoder_output, "_KEPT_BYTES", 100)
    with decoder_output.caught_noise(told.append), decoder_output.caught_noise(told.append):
        for _ in range(3):
            os.write(2, b"123456789\n" * 200)
            decoder_output.bound_log()
    assert len(told) == 1, "the inner one leaves it to the outer"
    assert "600 lines" in told[0]
    (log,) = (tmp_path / "logs").iterdir()
    assert log.stat().st_size == 100
    os.write(2, b"back again\n")
    assert "back again" in capfd.readouterr().err


def test_nothing_is_caught_where_the_cache_cannot_be_written(tmp_path, monkeypatch, capfd):
    (tmp_path / "logs").write_text("a file in the way")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    with decoder_output.caught_noise(lambda line: pytest.fail(line)):
        os.write(2, b"still here\n")
    assert "still here" in capfd.readouterr().err
