from __future__ import annotations

import math

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.tasks.parts.random_masking import gather_tokens, hidden_count, random_mask, tube, weighted_mean
from selfsup.testing.kit.task_checks import generator


def padding_of(lengths: list[int], n: int) -> torch.Tensor:
    return torch.arange(n).unsqueeze(0) >= torch.tensor(lengths).unsqueeze(1)


@pytest.mark.parametrize("ratio", [0.1, 0.15, 0.3, 0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("grid", [(2,), (10,), (20,), (4, 4), (14, 14), (3, 5), (2, 3, 4)])
def test_mask_ratio_is_exact_in_every_sample(grid: tuple[int, ...], ratio: float) -> None:
    n = math.prod(grid)
    split = random_mask(6, grid, ratio, generator=generator())
    # ceil, in exact arithmetic: MAE keeps int(N * (1 - ratio)) tokens.
    wanted = min(max(math.ceil(n * round(ratio * 100) / 100 - 1e-9), 1), n - 1)
    assert split.hidden.shape == (6, wanted)
    assert split.keep.shape == (6, n - wanted)
    assert split.weight is None
    assert split.mask.sum(dim=1).tolist() == [wanted] * 6
    everything = torch.cat([split.keep, split.hidden], dim=1).sort(dim=1).values
    assert torch.equal(everything, torch.arange(n).expand(6, n)), "kept and hidden tokens are not a partition"
    assert split.mask.gather(1, split.hidden).all()
    assert not split.mask.gather(1, split.keep).any()


def test_mae_and_simmim_counts_of_the_papers() -> None:
    assert random_mask(1, (14, 14), 0.75).keep.shape[1] == 49
    # SimMIM at 192 pixels: 6 x 6 blocks of 32 pixels, 0.6 of them, each of 8 x 8 patches of 4 pixels.
    assert random_mask(1, (48, 48), 0.6, block=8).hidden.shape[1] == math.ceil(36 * 0.6) * 64


def test_every_token_is_hidden_equally_often_and_samples_differ() -> None:
    split = random_mask(4000, (4, 4), 0.75, generator=generator())
    share = split.mask.float().mean(dim=0)
    assert (share - 0.75).abs().max() < 5 * math.sqrt(0.75 * 0.25 / 4000)
    assert len({tuple(row) for row in split.mask[:50].int().tolist()}) > 45


def test_masks_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = random_mask(3, (8,), 0.5, block=2, generator=generator(5))
    torch.manual_seed(2)
    again = random_mask(3, (8,), 0.5, block=2, generator=generator(5))
    other = random_mask(3, (8,), 0.5, block=2, generator=generator(6))
    assert torch.equal(first.keep, again.keep)
    assert not torch.equal(first.keep, other.keep)


@pytest.mark.parametrize(("grid", "block"), [((8, 8), 2), ((12,), 4), ((4, 6, 2), 2)])
def test_coarse_blocks_are_whole(grid: tuple[int, ...], block: int) -> None:
    split = random_mask(5, grid, 0.6, block=block, generator=generator())
    cells = split.mask.view(5, *grid)
    for axis, size in enumerate(grid):
        cells = cells.unflatten(1 + 2 * axis, (size // block, block))
    order = [0, *range(1, 2 * len(grid), 2), *range(2, 2 * len(grid) + 1, 2)]
    blocks = cells.permute(order).reshape(5, math.prod(size // block for size in grid), block ** len(grid))
    assert torch.equal(blocks.any(dim=2), blocks.all(dim=2)), "a block is hidden in part"
    count = math.prod(size // block for size in grid)
    assert blocks.all(dim=2).sum(dim=1).tolist() == [math.ceil(0.6 * count)] * 5


@pytest.mark.parametrize("grid", [(8, 4, 4), (4, 14, 14), (5, 7)])
@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_tubes_hide_a_place_at_all_times_or_at_none(grid: tuple[int, ...], ratio: float) -> None:
    split = random_mask(2000, grid, ratio, block=tube(grid), generator=generator())
    cells = split.mask.view(2000, grid[0], -1)
    assert (cells == cells[:, :1]).all()
    places = math.prod(grid[1:])
    assert cells[:, 0].sum(dim=1).tolist() == [hidden_count(places, ratio)] * 2000
    share = cells[:, 0].float().mean(dim=0)
    wanted = hidden_count(places, ratio) / places
    assert (share - wanted).abs().max() < 5 * math.sqrt(wanted * (1 - wanted) / 2000), "some places are hidden more often"


def test_tubes_of_padded_samples_have_the_exact_count_of_tokens() -> None:
    padding = (torch.arange(4) >= torch.tensor([4, 2]).unsqueeze(1)).repeat_interleave(6, dim=1)
    split = random_mask(2, (4, 6), 0.5, block=tube((4, 6)), padding=padding, generator=generator())
    assert not (split.mask & padding).any()
    assert split.mask.sum(dim=1).tolist() == [12, 6]
    for times, row in zip((4, 2), split.mask.view(2, 4, 6), strict=True):
        assert (row[:times] == row[0]).all()


def test_a_tube_needs_a_second_axis() -> None:
    with pytest.raises(ConfigError, match=r"one axis only \(9 of them\)"):
        tube((9,))


def test_blocks_that_do_not_fit_are_cut_to_the_exact_count() -> None:
    split = random_mask(50, (7, 5), 0.6, block=2, generator=generator())
    assert split.mask.sum(dim=1).tolist() == [21] * 50
    together = (split.mask.view(50, 7, 5)[:, :6:2, :4] == split.mask.view(50, 7, 5)[:, 1:6:2, :4]).float().mean()
    assert together > 0.9, "neighbours in a block are hidden apart"


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("ratio", [0.15, 0.5, 0.75])
def test_padding_is_never_hidden_and_each_length_has_its_own_exact_ratio(ratio: float, block: int) -> None:
    lengths = [12, 7, 2, 1, 11, 3]
    padding = padding_of(lengths, 12)
    for seed in range(20):
        split = random_mask(6, (12,), ratio, block=block, padding=padding, generator=generator(seed))
        assert split.weight is not None
        counts = [hidden_count(length, ratio) for length in lengths]
        assert counts[3] == 0, "a lone token has nothing to be predicted from"
        assert split.weight.sum(dim=1).tolist() == counts
        assert split.mask.sum(dim=1).tolist() == counts
        assert not (split.mask & padding).any()
        kept = ~padding.gather(1, split.keep)
        assert kept.sum(dim=1).tolist() == [length - count for length, count in zip(lengths, counts, strict=True)]
        for i, length in enumerate(lengths):
            hidden = split.hidden[i][split.weight[i].bool()].tolist()
            assert sorted([*split.keep[i][kept[i]].tolist(), *hidden]) == list(range(length))


def test_a_padding_of_none_and_of_all_false_agree_on_counts() -> None:
    free = random_mask(2, (9,), 0.4, generator=generator())
    padded = random_mask(2, (9,), 0.4, padding=torch.zeros(2, 9, dtype=torch.bool), generator=generator())
    assert torch.equal(free.mask, padded.mask)
    assert torch.equal(free.keep, padded.keep)


def test_one_token_cannot_be_masked() -> None:
    with pytest.raises(ConfigError, match=r"1 token\(s\) cannot be masked"):
        random_mask(2, (1,), 0.5)


def test_gather_tokens_takes_any_trailing_shape() -> None:
    x = torch.arange(24).view(2, 4, 3)
    index = torch.tensor([[3, 0], [1, 1]])
    assert gather_tokens(x, index).tolist() == [[[9, 10, 11], [0, 1, 2]], [[15, 16, 17], [15, 16, 17]]]
    assert gather_tokens(x[..., 0], index).tolist() == [[9, 0], [15, 15]]


def test_weighted_mean_counts_only_what_has_weight() -> None:
    loss = torch.tensor([1.0, 2.0, 30.0])
    assert weighted_mean(loss, None).item() == 11.0
    assert weighted_mean(loss, torch.tensor([1.0, 1.0, 0.0])).item() == 1.5
    assert weighted_mean(loss, torch.zeros(3)).item() == 0.0
