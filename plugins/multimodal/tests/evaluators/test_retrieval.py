"""Retrieval across parts, on embeddings that are given."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from selfsup.errors import ConfigError, DataError
from selfsup.evaluation.evaluators.retrieval import RetrievalConfig
from selfsup_multimodal.evaluators import retrieval
from selfsup_multimodal.evaluators.retrieval import RECIPE, CrossModalRetrievalConfig, chance_recall


@dataclass
class Given:
    """A split whose embeddings and contents are given."""

    parts: dict[str, Tensor]
    lacks: dict[str, list[int]] = field(default_factory=dict)

    @property
    def store(self) -> range:
        return range(len(next(iter(self.parts.values()))))

    def present(self, encoder, part):
        there = torch.ones(len(self.store), dtype=torch.bool)
        there[self.lacks.get(part, [])] = False
        return there

    def embeddings(self, encoder, part):
        return torch.where(self.present(encoder, part).unsqueeze(1), self.parts[part], torch.nan)


def encoder(*parts: str, shared: bool = True):
    backbone = SimpleNamespace(part_dims=dict.fromkeys(parts, 4), shares_space=shared)
    return SimpleNamespace(backbone=backbone, backbone_id="towers")


def measure(split: Given, content: dict[str, Tensor], monkeypatch, **options):
    monkeypatch.setattr(retrieval, "content_of", lambda *_: content)
    made = RECIPE.build(CrossModalRetrievalConfig(**options))
    return made.evaluate(encoder(*split.parts), split, split, seed=0)


def test_both_ways_by_hand(monkeypatch):
    """Four rows; the third picture lies at the fourth caption and the other way round."""
    pictures = torch.eye(4)
    captions = torch.eye(4)[[0, 1, 3, 2]] + 0.1 * torch.eye(4)
    content = {name: torch.arange(4) for name in ("image", "text")}
    found = measure(Given({"image": pictures, "text": captions}), content, monkeypatch, ks=(1, 2))
    assert next(iter(found)) == "recall_at_1"
    assert found["recall_at_1"] == found["recall_at_1_image_to_text"] == found["recall_at_1_text_to_image"] == 0.5
    assert found["recall_at_2"] == 1
    assert (found["recall_at_1_chance"], found["recall_at_2_chance"]) == (0.25, 0.5)
    assert (found["median_rank_image_to_text"], found["median_rank_chance_image_to_text"]) == (1.5, 2.5)
    assert found["gallery_image_text"] == 4


def test_equal_contents_are_right_whichever_row_has_them(monkeypatch):
    """The third and the fourth row have one caption: each picture may find either."""
    split = Given({"image": torch.eye(4), "text": torch.eye(4)[[0, 1, 3, 2]] + 0.1 * torch.eye(4)})
    content = {"image": torch.arange(4), "text": torch.tensor([0, 1, 2, 2])}
    found = measure(split, content, monkeypatch, ks=(1,))
    assert found["recall_at_1_image_to_text"] == found["recall_at_1_text_to_image"] == 1
    assert found["recall_at_1_chance"] == pytest.approx((1 + 1 + 2 + 2) / 16)


def test_rows_that_lack_a_part_are_in_no_gallery_of_it(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    split = Given({name: torch.randn(9, 4, generator=generator) for name in ("a", "b", "c")}, {"b": [0, 1], "c": [1, 8]})
    found = measure(split, {name: torch.arange(9) for name in "abc"}, monkeypatch)
    assert (found["gallery_a_b"], found["gallery_a_c"], found["gallery_b_c"]) == (7, 7, 6)
    ways = [found[f"recall_at_5_{one}_to_{other}"] for one, other in itertools.permutations("abc", 2)]
    assert found["recall_at_5"] == pytest.approx(sum(ways) / 6)
    assert all(value == value for value in found.values()), "a NaN of an absent row came through"


def test_collapsed_embeddings_rank_as_a_guess(monkeypatch):
    split = Given({"image": torch.ones(101, 4), "text": torch.ones(101, 4)})
    found = measure(split, {name: torch.arange(101) for name in ("image", "text")}, monkeypatch)
    assert found["recall_at_10"] == 0
    assert found["median_rank_image_to_text"] == found["median_rank_chance_image_to_text"] == 51


def test_chance_equals_counting_all_draws():
    right = torch.tensor([1, 3, 5])
    expected = []
    for r in right.tolist():
        draws = list(itertools.combinations(range(6), 2))
        expected.append(sum(any(place < r for place in draw) for draw in draws) / len(draws))
    assert chance_recall(right, 6, 2) == pytest.approx(sum(expected) / 3)
    assert chance_recall(right, 6, 10) == 1


def test_what_cannot_be_compared_is_refused(monkeypatch):
    made = RECIPE.build(CrossModalRetrievalConfig())
    split = Given({"image": torch.eye(4), "text": torch.eye(4)}, {"text": [0, 1, 2]})
    with pytest.raises(ConfigError, match="no joint space"):
        made.evaluate(encoder("image", "text", shared=False), split, split, seed=0)
    with pytest.raises(ConfigError, match="no embedding of each part"):
        made.evaluate(encoder(), split, split, seed=0)
    with pytest.raises(DataError, match="at least two test rows"):
        measure(split, {name: torch.arange(4) for name in split.parts}, monkeypatch)


def test_a_k_below_one_is_refused():
    for config in (CrossModalRetrievalConfig, RetrievalConfig):
        with pytest.raises(ValidationError, match="greater than 0"):
            config(ks=(5, 0))
