"""Rows of two toy sequences, one of ids and one of frames, as batches by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from selfsup.batch_parts import join_parts
from selfsup.testing.toy.sequences.installed import installed
from selfsup.testing.toy.sequences.shortcuts import toy_batch, toy_info
from selfsup.types import Batch, Info

B = 10
LACKING = {"left": [3], "right": [0, 7]}
"""Rows that lack a part."""


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The toy sequences are installed, for one file: other packages' tests are not to see them."""
    with installed(tmp_path_factory.mktemp("toy")):
        yield


@pytest.fixture(scope="module")
def info(toy: None) -> Info:
    """``left`` holds ids, ``right`` frames."""
    return {
        "parts": {
            "left": {"modality": "sequence", "info": toy_info("ids")},
            "right": {"modality": "sequence", "info": toy_info("frames")},
        }
    }


@pytest.fixture
def batch(toy: None) -> Batch:
    """Ten rows: one lacks ``left``, and two lack ``right``; equal contents in rows 1 and 2 of ``left``."""
    parts = {"left": toy_batch("ids", B), "right": toy_batch("frames", B)}
    for name, part in parts.items():
        present = torch.ones(B, dtype=torch.bool)
        present[LACKING[name]] = False
        part["present"], part["content"] = present, torch.where(present, torch.arange(B), -1)
    parts["left"]["content"][2] = 1
    return join_parts(parts)
