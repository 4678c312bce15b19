from __future__ import annotations

import math

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.testing.kit.task_checks import generator


def padding_of(lengths: list[int], n: int) -> torch.Tensor:
    return torch.arange(n).unsqueeze(0) >= torch.tensor(lengths).unsqueeze(1)


def runs(row: torch.Tensor) -> list[int]:
    """Lengths of the runs of True."""
    lengths, count = [], 0
    for value in [*row.tolist(), False]:
        if value:
            count += 1
        elif count:
            lengths.append(count)
            count = 0
    return lengths


def test_wav2vec2_hides_half_in_spans_of_fifteen() -> None:
    """Baevski et al. 2020, section 3.1 and appendix A.2: p = .065, M = 10 hide about 49 % in spans of 14.7 on average."""
    split = span_mask(300, (749,), 0.065, 10, generator=generator())
    assert split.mask.float().mean().item() == pytest.approx(0.49, abs=0.01)
    found = [length for row in split.mask for length in runs(row)]
    assert sum(found) / len(found) == pytest.approx(14.7, abs=0.4)
    assert min(found) >= 10


def test_the_number_of_spans_is_right_in_the_mean_and_rounded_at_random() -> None:
    split = span_mask(4000, (101,), 0.0275, 1, min_spans=1, generator=generator())
    counts = split.mask.sum(dim=1)
    assert set(counts.tolist()) == {2, 3}
    assert counts.float().mean().item() == pytest.approx(2.7775, abs=5 * 0.42 / math.sqrt(4000))


def test_beginnings_are_alike_likely_wherever_a_span_has_room() -> None:
    split = span_mask(6000, (12,), 0.001, 4, min_spans=1, generator=generator())
    first = split.mask.int().argmax(dim=1)
    assert (split.mask.sum(dim=1) == 4).all()
    share = torch.bincount(first, minlength=12) / 6000
    assert (share[:9] - 1 / 9).abs().max() < 5 * math.sqrt(1 / 9 * 8 / 9 / 6000)
    assert share[9:].sum() == 0


def test_there_are_at_least_as_many_spans_as_asked_for() -> None:
    split = span_mask(200, (60,), 0.001, 5, min_spans=3, generator=generator())
    assert (split.mask.sum(dim=1) >= 7).all()
    assert split.hidden.shape == (200, 15)
    assert (split.mask.sum(dim=1) == 15).any()


def test_slots_and_kept_tokens_agree_with_the_mask() -> None:
    split = span_mask(20, (40,), 0.065, 10, generator=generator())
    assert split.weight is not None
    assert split.hidden.shape == split.weight.shape == (20, 30)
    assert split.keep.shape == (20, 10)
    assert torch.equal(split.weight.sum(dim=1).long(), split.mask.sum(dim=1))
    assert (gather_tokens(split.mask, split.hidden).float() >= split.weight).all()
    assert torch.equal(gather_tokens(split.mask, split.hidden).float(), split.weight)
    assert not gather_tokens(split.mask, split.keep).any()


@pytest.mark.parametrize("first", [False, True])
def test_padding_is_never_hidden_and_shares_are_of_the_real_tokens(first: bool) -> None:
    lengths = [60, 30, 12, 5, 3, 2, 1]
    padding = padding_of(lengths, 60)
    padding = padding.flip(1) if first else padding
    split = span_mask(7, (60,), 0.065, 10, padding=padding, generator=generator())
    assert not (split.mask & padding).any()
    hidden = split.mask.sum(dim=1).tolist()
    assert hidden[-1] == 0
    assert all(0 < count < length for count, length in zip(hidden[:-1], lengths[:-1], strict=True))
    assert split.weight is not None
    assert split.weight.sum(dim=1).tolist() == hidden
    assert all(length <= 2 * max(60 // 2, 1) for row in split.mask for length in runs(row))


def test_a_span_is_at_most_half_of_its_sample() -> None:
    split = span_mask(300, (40,), 0.001, 10, min_spans=1, padding=padding_of([6] * 300, 40), generator=generator())
    assert (split.mask.sum(dim=1) == 3).all()


def test_spans_run_on_from_row_to_row_of_a_lattice() -> None:
    assert torch.equal(
        span_mask(5, (6, 8), 0.065, 10, generator=generator()).mask, span_mask(5, (48,), 0.065, 10, generator=generator()).mask
    )


def test_masks_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = span_mask(3, (30,), 0.1, 5, generator=generator(5))
    torch.manual_seed(2)
    again = span_mask(3, (30,), 0.1, 5, generator=generator(5))
    assert torch.equal(first.hidden, again.hidden)
    assert not torch.equal(first.mask, span_mask(3, (30,), 0.1, 5, generator=generator(6)).mask)


def test_one_token_cannot_be_masked() -> None:
    with pytest.raises(ConfigError, match=r"1 token\(s\) cannot be masked"):
        span_mask(2, (1,), 0.1, 5)
