from __future__ import annotations

from collections import Counter

import pytest
import torch

from selfsup.testing.kit.task_checks import generator
from selfsup_text.tasks.parts.token_masks import (
    draw_counts,
    fewest_hidden,
    hide_tokens,
    hide_words,
    most_hidden,
    put,
    replace_ids,
)


@pytest.mark.parametrize(
    ("n", "rate", "fewest", "most"), [(20, 0.15, 3, 3), (3, 0.15, 0, 1), (128, 0.15, 19, 20), (7, 1.0, 7, 7)]
)
def test_counts_are_the_exact_share_on_average(n: int, rate: float, fewest: int, most: int) -> None:
    assert (fewest_hidden(n, rate), most_hidden(n, rate)) == (fewest, most)
    counts = draw_counts(torch.full((20000, 1), n), rate, generator())
    assert {int(count) for count in counts.unique()} <= {fewest, most}
    assert counts.float().mean().item() == pytest.approx(n * rate, abs=0.02)


def test_every_token_is_hidden_with_the_stated_probability_at_every_length() -> None:
    N = 20
    length = torch.tensor([[20], [7], [3], [1]])
    maskable = (torch.arange(N) < length).repeat(3000, 1)
    maskable[::4, 5] = False
    mask = hide_tokens(maskable, 0.15, generator())
    assert mask.hidden.shape == (12000, 3)
    share = mask.mask.view(3000, 4, N).float().mean(dim=0)
    wanted = torch.where(maskable[:4], 0.15, 0.0)
    assert (share - wanted).abs().max() < 0.025
    assert mask.mask[~maskable].sum() == 0
    assert mask.mask.sum().item() / maskable.sum().item() == pytest.approx(0.15, abs=0.003)


def test_slots_say_what_the_mask_says() -> None:
    maskable = torch.rand(50, 12, generator=generator(1)) < 0.7
    for mask in (
        hide_tokens(maskable, 0.4, generator()),
        hide_words(maskable, torch.arange(12).expand(50, 12), 0.4, generator()),
    ):
        assert mask.weight is not None
        rebuilt = torch.zeros(50, 12).scatter_add(1, mask.hidden, mask.weight)
        assert torch.equal(rebuilt, mask.mask.float())
        assert not mask.mask.gather(1, mask.keep).any()
        assert mask.keep.shape == (50, 12 - mask.hidden.shape[1])


def test_words_are_hidden_whole_and_as_many_as_fit() -> None:
    words = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 8, 9, 10, 11, 12, 13]).repeat(4000, 1)
    mask = hide_words(torch.ones_like(words, dtype=torch.bool), words, 0.2, generator())
    share = mask.mask.float().mean(dim=0)
    for word in range(14):
        tokens = mask.mask[:, words[0] == word]
        assert torch.equal(tokens.all(dim=1), tokens.any(dim=1)), f"word {word} is torn apart"
    assert mask.mask.sum(dim=1).max() == 4
    assert mask.mask.float().mean().item() == pytest.approx(0.2, abs=0.002)
    assert share.min() > 0.1


def test_words_longer_than_the_budget_stay_and_special_tokens_too() -> None:
    words = torch.tensor([[0, 0, 0, 1, 2, 2, 3, 3, 3, 3]]).repeat(500, 1)
    maskable = torch.ones_like(words, dtype=torch.bool)
    maskable[:, 4] = False
    mask = hide_words(maskable, words, 0.2, generator())
    assert not mask.mask[:, [0, 1, 2, 4, 6, 7, 8, 9]].any()
    assert mask.mask[:, 3].any()
    assert mask.mask[:, 5].any()


def test_replacement_has_the_papers_statistics() -> None:
    ids = torch.full((2000, 20), 7)
    mask = hide_tokens(torch.ones_like(ids, dtype=torch.bool), 0.5, generator())
    new = replace_ids(
        ids, mask, mask_id=4, ordinary=torch.arange(5, 15), mask_share=0.8, random_share=0.1, generator=generator(1)
    )
    assert torch.equal(new[~mask.mask], ids[~mask.mask])
    counts = Counter(new[mask.mask].tolist())
    total = 20000
    assert counts[4] / total == pytest.approx(0.8, abs=0.01)
    assert counts[7] / total == pytest.approx(0.1 + 0.1 / 10, abs=0.01)
    for other in (5, 6, 8, 9, 10, 11, 12, 13, 14):
        assert counts[other] / total == pytest.approx(0.01, abs=0.003)
    assert sum(counts.values()) == total
    assert set(counts) == {4, *range(5, 15)}


def test_slots_without_a_hidden_token_change_nothing() -> None:
    ids = torch.arange(5, 11).view(2, 3)
    maskable = torch.tensor([[True, True, True], [False, False, False]])
    mask = hide_tokens(maskable, 0.4, generator())
    assert torch.equal(put(ids, mask, torch.full_like(mask.hidden, 4))[1], ids[1])
