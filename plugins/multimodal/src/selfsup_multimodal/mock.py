"""Synthetic rows of two parts that both show a hidden class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from selfsup.errors import MissingPluginError
from selfsup.registry import registry
from selfsup.types import Row

N_CLASSES = 4
_MAKERS: Mapping[str, str] = {"image": "_image", "string": "_text", "audio": "_sound", "list": "_ids", "video": "_video"}
"""Kind of a role to the function that makes a value; rows use the first two kinds that are installed."""
_LACK = 0.2
"""Share of the rows that lack a part; each part equally often."""
_COLOURS = ("red", "green", "blue", "grey")
_THINGS = ("bag", "shirt", "shoe", "lamp")
_WORDS = ("old", "new", "small", "large", "soft", "plain", "warm", "light")
_SIZE = 16
_RATE = 8000
Maker = Callable[[int, np.random.Generator], Any]


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` rows of two parts; one row in five lacks a part; the class of a row is its index modulo 4."""
    return _rows(n, seed, classes=True)


def mock_parts() -> dict[str, tuple[str, str]]:
    """By part: modality and role, for two installed modalities of different kinds.

    If only one kind is installed, both parts use it and are named ``first`` and ``second``.
    """
    found = {}
    for kind in _MAKERS:
        for spec in registry().modalities.values():
            roles = [role for role, wanted in spec.columns.items() if wanted.lower() == kind]
            if not spec.joins and len(spec.columns) == 1 and roles:
                found[spec.id] = (spec.id, roles[0])
                break
    if not found:
        raise MissingPluginError(
            "Synthetic rows join installed modalities, but none is installed: pip install selfsup-vision selfsup-text"
        )
    if len(found) == 1:
        (only,) = found.values()
        return {"first": only, "second": only}
    return dict(list(found.items())[:2])


def _rows(n: int, seed: int, *, classes: bool) -> list[Row]:
    rng = np.random.default_rng(seed)
    parts = mock_parts()
    kinds = registry().modalities
    makers = {name: _maker(kinds[id].columns[role].lower()) for name, (id, role) in parts.items()}
    rows: list[Row] = []
    for number in range(n):
        drawn = rng.permutation(N_CLASSES)
        lacks = int(rng.integers(len(parts))) if rng.random() < _LACK else None
        row: Row = {}
        for place, (name, (_, role)) in enumerate(parts.items()):
            value = makers[name](number % N_CLASSES if classes else int(drawn[place]), rng)
            row[f"{name}/{role}"] = None if place == lacks else value
        rows.append(row)
    return rows


def _maker(kind: str) -> Maker:
    maker: Maker = globals()[_MAKERS[kind]]
    return maker


def _image(label: int, rng: np.random.Generator) -> Any:
    """[16, 16, 3] uint8: a light square on dark, in the corner and colour of the class."""
    image = rng.integers(0, 90, (_SIZE, _SIZE, 3))
    top, left = divmod(label, 2)
    half = _SIZE // 2
    square = image[top * half : (top + 1) * half, left * half : (left + 1) * half]
    square += 70
    square[..., slice(None) if label == 3 else label] += 80
    return image.astype(np.uint8)


def _text(label: int, rng: np.random.Generator) -> str:
    """A few words, including the colour and the object of the class."""
    some = rng.choice(_WORDS, int(rng.integers(1, 4)), replace=False)
    return " ".join(["a", *some, _COLOURS[label], _THINGS[label], f"of {rng.choice(_WORDS)} kind"])


def _sound(label: int, rng: np.random.Generator) -> dict[str, Any]:
    """0.25 s: a tone at the pitch of the class, in noise."""
    time = np.arange(int(0.25 * _RATE)) / _RATE
    tone = 0.3 * np.sin(2 * math.pi * 300 * 2**label * time + rng.uniform(0, 2 * math.pi))
    return {"array": (tone + rng.normal(0, 0.02, len(time))).astype(np.float32), "sampling_rate": _RATE}


def _ids(label: int, rng: np.random.Generator) -> list[int]:
    """12 to 20 ids; four of five add the step of the class to the previous id, modulo 16."""
    ids = [int(rng.integers(16))]
    for _ in range(int(rng.integers(12, 21)) - 1):
        ids.append(int(rng.integers(16)) if rng.random() < 0.2 else (ids[-1] + 2 * label + 1) % 16)
    return ids


def _video(label: int, rng: np.random.Generator) -> Any:
    """[8, 16, 16, 3] uint8: the square of the class on new noise in each frame."""
    return np.stack([_image(label, rng) for _ in range(8)])


NOISE_ROWS = {"independent": partial(_rows, classes=False)}
"""Rows with independent parts, for the leak checks."""
