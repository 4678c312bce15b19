"""Synthetic pairs: the second sequence goes on where the first began, with the same step; a fifth of the rows lack one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.testing.toy.sequences.rows import N_CLASSES, N_IDS, STEPS
from selfsup.types import Row

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("first", "second")
_SIZES = {"train": 240, "test": 120}
_SEEDS = {"train": 0, "test": 1}


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` rows of two sequences of 10 to 18 ids, without labels; every fifth lacks the first or the second, in turn."""
    return [{key: value for key, value in row.items() if key != "label"} for row in pair_rows(n, seed)]


def pair_rows(n: int, seed: int, *, lacking: bool = True) -> list[Row]:
    """Rows of pairs with their class, the step from one id to the next.

    The second sequence has the class and the first id of the first one, all ids 2 higher.

    Args:
        n: number of rows.
        seed: of the draw.
        lacking: whether rows 3, 8, 13, ... have None for the first sequence and the second one in turn.
    """
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(n):
        label, start = number % N_CLASSES, int(rng.integers(N_IDS))
        row: Row = {
            f"{part}/sequence": _course(rng, start, STEPS[label], shift) for part, shift in zip(PARTS, (0, 2), strict=True)
        }
        if lacking and number % 5 == 3:
            row[f"{PARTS[number // 5 % 2]}/sequence"] = None
        rows.append({**row, "label": label})
    return rows


def _course(rng: np.random.Generator, start: int, step: int, shift: int) -> list[int]:
    ids = [start]
    for _ in range(int(rng.integers(10, 19)) - 1):
        surprise = rng.random() < 0.15
        ids.append(int(rng.integers(N_IDS)) if surprise else (ids[-1] + step) % N_IDS)
    return [number + shift for number in ids]


def pair_dataset(split: str) -> Dataset:
    """The data set ``toy-pairs``."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    rows: list[dict[str, Any]] = pair_rows(_SIZES[split], _SEEDS[split])
    classes = ClassLabel(names=[f"class {number}" for number in range(N_CLASSES)])
    kinds = {f"{part}/sequence": List(Value("int64")) for part in PARTS}
    return Dataset.from_list(rows, features=Features({**kinds, "label": classes}))
