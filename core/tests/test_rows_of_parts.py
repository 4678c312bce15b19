"""Batches of rows that join several parts."""

from __future__ import annotations

import pytest
import torch

from selfsup.batch_parts import fill_absent, join_parts, only_part, part_names, part_of, presence


def batch() -> dict[str, torch.Tensor]:
    return {
        "vision/image": torch.arange(4.0),
        "vision/present": torch.tensor([True, False, True, False]),
        "text/input_ids": torch.arange(8).view(4, 2),
        "text/present": torch.ones(4, dtype=torch.bool),
        "text/content": torch.arange(4),
    }


def test_a_part_has_the_keys_of_its_own_modality() -> None:
    assert part_names(batch()) == ("vision", "text")
    assert list(part_of(batch(), "text")) == ["input_ids"]
    assert list(only_part(batch(), "vision")) == ["vision/image", "vision/present"]
    assert presence(batch(), "vision") is not None
    with pytest.raises(KeyError, match=r"no part 'audio'; its parts are vision, text"):
        part_of(batch(), "audio")


def test_data_of_one_kind_have_no_parts() -> None:
    plain = {"image": torch.zeros(2)}
    assert part_names(plain) == ()
    assert part_of(plain, "") is plain
    assert presence(plain, "") is None


def test_parts_are_joined_under_their_names() -> None:
    joined = join_parts({"front": {"image": torch.zeros(1)}, "back": {"image": torch.ones(1)}})
    assert {key: float(value) for key, value in joined.items()} == {"front/image": 0.0, "back/image": 1.0}


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        ([True, False, True, False], [0.0, 2.0, 2.0, 2.0]),
        ([False, False, False, True], [3.0, 3.0, 3.0, 3.0]),
        ([False, True, True, False], [1.0, 1.0, 2.0, 2.0]),
        ([True, True, True, True], [0.0, 1.0, 2.0, 3.0]),
        ([False, False, False, False], [0.0, 1.0, 2.0, 3.0]),
    ],
)
def test_rows_that_lack_a_part_hold_what_others_do(present: list[bool], wanted: list[float]) -> None:
    filled = fill_absent({"image": torch.arange(4.0)}, torch.tensor(present))
    there = filled["image"].tolist()
    if any(present):
        assert set(there) <= {float(place) for place, own in enumerate(present) if own}
    assert [value for value, own in zip(there, present, strict=True) if own] == [
        value for value, own in zip(wanted, present, strict=True) if own
    ]
