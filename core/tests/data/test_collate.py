"""The default ``collate``: each ragged key has its own padding."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from selfsup.config import Config
from selfsup.data import Processor


class Lists(Processor):
    """A row is a dict of lists."""

    modality = "lists"
    Config = Config

    def fit(self, rows: Any) -> Lists:
        return self

    def info(self) -> dict[str, Any]:
        return {}

    def encode(self, row: Any) -> dict[str, np.ndarray[Any, Any]]:
        return {key: np.asarray(value) for key, value in row.items()}

    def save(self, directory: Any) -> None: ...

    @classmethod
    def load(cls, directory: Any) -> Lists:
        return cls(Config())


class Named(Lists):
    ragged_keys: ClassVar[tuple[str, ...]] = ("words", "times")


def row(words: int, times: int) -> dict[str, list[int]]:
    return {"image": [7, 7], "words": [1] * words, "times": [2] * times}


def test_two_ragged_keys_have_a_padding_each() -> None:
    batch = Lists(Config())([row(3, 1), row(1, 4)])
    assert batch["padding"].tolist() == [[False, False, False], [False, True, True]]
    assert batch["times_padding"].tolist() == [[False, True, True, True], [False] * 4]
    for key, padding in (("words", "padding"), ("times", "times_padding")):
        assert torch.equal(batch[key] == 0, batch[padding])
    assert batch.keys() == {"image", "words", "times", "padding", "times_padding"}


def test_one_ragged_key_has_the_padding_as_before() -> None:
    batch = Lists(Config())([row(3, 2), row(1, 2)])
    assert batch.keys() == {"image", "words", "times", "padding"}
    assert batch["padding"].tolist() == [[False, False, False], [False, True, True]]


@pytest.mark.parametrize(
    ("lengths", "keys"),
    [
        (((3, 1), (1, 4)), {"padding", "times_padding"}),
        (((3, 2), (1, 2)), {"padding"}),
        (((2, 3), (2, 1)), {"times_padding"}),  # the first key is even in this batch, and the padding is not of it
        (((2, 2), (2, 2)), set()),
    ],
)
def test_a_processor_that_names_its_ragged_keys_has_the_same_names_in_every_batch(
    lengths: tuple[tuple[int, int], ...], keys: set[str]
) -> None:
    batch = Named(Config())([row(*each) for each in lengths])
    assert {key for key in batch if "padding" in key} == keys
    for key in keys:
        assert torch.equal(batch["words" if key == "padding" else "times"] == 0, batch[key])
