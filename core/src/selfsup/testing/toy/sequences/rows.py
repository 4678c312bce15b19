"""Synthetic rows from which something can be learned: each class has its own course from one token to the next."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.types import Row

if TYPE_CHECKING:
    from datasets import Dataset

N_CLASSES = 3
N_IDS = 16
N_CHANNELS = 4
N_FRAMES = 16
STEPS = (1, 3, 6)
_CYCLES = (1.0, 2.0, 4.0)
_SIZES = {"train": 256, "test": 128}
_SEEDS = {"train": 0, "test": 1}


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` rows of ids, of 12 to 20 tokens, without labels."""
    return [{"sequence": row["sequence"]} for row in id_rows(n, seed)]


def mock_frames(n: int, seed: int) -> list[Row]:
    """``n`` rows of 16 frames of four channels, without labels."""
    return [{"sequence": row["sequence"]} for row in frame_rows(n, seed)]


def id_rows(n: int, seed: int) -> list[Row]:
    """Rows of ids with their class: four of five tokens are the one before plus the class's step, modulo 16."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(n):
        label = number % N_CLASSES
        ids = [int(rng.integers(N_IDS))]
        for _ in range(int(rng.integers(12, 21)) - 1):
            surprise = rng.random() < 0.2
            ids.append(int(rng.integers(N_IDS)) if surprise else (ids[-1] + STEPS[label]) % N_IDS)
        rows.append({"sequence": ids, "label": label})
    return rows


def frame_rows(n: int, seed: int) -> list[Row]:
    """Rows of frames with their class: sines of the class's frequency, a random phase in each channel, and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(N_FRAMES)[:, None] / N_FRAMES
    rows: list[Row] = []
    for number in range(n):
        label = number % N_CLASSES
        phase = rng.uniform(0, 2 * math.pi, N_CHANNELS)
        frames = np.sin(2 * math.pi * _CYCLES[label] * time + phase) + 0.2 * rng.standard_normal((N_FRAMES, N_CHANNELS))
        rows.append({"sequence": frames.astype(np.float32).tolist(), "label": label})
    return rows


def id_dataset(split: str) -> Dataset:
    """The data set ``toy-sequences``."""
    return _dataset(id_rows(_SIZES[split], _SEEDS[split]), {"feature": "int64"})


def frame_dataset(split: str) -> Dataset:
    """The data set ``toy-frames``."""
    return _dataset(frame_rows(_SIZES[split], _SEEDS[split]), {"feature": "float32", "nested": True})


def _dataset(rows: list[Row], options: dict[str, Any]) -> Dataset:
    from datasets import ClassLabel, Dataset, Features, List, Value

    token: Any = Value(options["feature"])
    if options.get("nested"):
        token = List(token)
    classes = ClassLabel(names=[f"class {number}" for number in range(N_CLASSES)])
    return Dataset.from_list(rows, features=Features({"sequence": List(token), "label": classes}))


def noise_rows(n: int, seed: int, tokens: tuple[int, int]) -> list[Row]:
    """``n`` rows of ids, each drawn for itself, of ``tokens`` tokens (the fewest and the most)."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(tokens[0], tokens[1] + 1, size=n)
    return [{"sequence": rng.integers(N_IDS, size=length).tolist()} for length in lengths]


NOISE_ROWS = {
    "6 ids": partial(noise_rows, tokens=(6, 6)),
    "2 to 90 ids": partial(noise_rows, tokens=(2, 90)),
}
"""Independent noise for the leak checks."""
