from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selfsup.tasks.parts.block_masking import MultiBlockMask, block_mask, largest_block, multi_block_mask, random_blocks
from selfsup.tasks.parts.random_masking import hidden_count
from selfsup.testing.kit.task_checks import generator

SCALE, ASPECT = (0.15, 0.2), (0.75, 1.5)


def paper_mask(batch: int, grid: tuple[int, ...], padding: torch.Tensor | None = None, **changes: object) -> MultiBlockMask:
    options: dict[str, object] = {
        "n_targets": 4, "target_scale": SCALE, "target_aspect": ASPECT, "context_scale": (0.85, 1.0), "context_share": 0.25,
        "min_context": 4,
    }  # fmt: skip
    return multi_block_mask(batch, grid, padding=padding, generator=generator(), **{**options, **changes})  # type: ignore[arg-type]


def sizes(blocks: torch.Tensor, grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Height and width of each block, which must be a full rectangle."""
    cells = blocks.flatten(0, 1).view(-1, *grid)
    height, width = cells.any(dim=2).sum(dim=1), cells.any(dim=1).sum(dim=1)
    assert torch.equal(cells.sum(dim=(1, 2)), height * width), "a block is no rectangle"
    for line in (cells.any(dim=2).int(), cells.any(dim=1).int()):
        assert (line.diff(dim=1).abs().sum(dim=1) + line[:, 0] + line[:, -1] == 2).all(), "a block has a gap"
    return height, width


def sizes_of_the_paper(grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float]) -> set[tuple[int, int]]:
    """All heights and widths that the authors' formula can give, by trying a fine net of scales and aspects."""
    found = set()
    for i in range(401):
        area = int(grid[0] * grid[1] * (scale[0] + (scale[1] - scale[0]) * i / 400))
        for j in range(401):
            ratio = aspect[0] + (aspect[1] - aspect[0]) * j / 400
            height, width = math.floor(math.sqrt(area * ratio) + 0.5), math.floor(math.sqrt(area / ratio) + 0.5)
            found.add((min(height, grid[0] - 1), min(width, grid[1] - 1)))
    return found


@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (6, 12)])
def test_block_sizes_are_those_of_the_paper(grid: tuple[int, int]) -> None:
    blocks = random_blocks(1500, 4, grid, SCALE, ASPECT, generator=generator())
    height, width = sizes(blocks, grid)
    drawn = set(zip(height.tolist(), width.tolist(), strict=True))
    allowed = sizes_of_the_paper(grid, SCALE, ASPECT)
    assert drawn <= allowed
    assert len(drawn) >= 0.8 * len(allowed), "some shapes never come"
    share = (height * width).float().mean() / math.prod(grid)
    assert abs(float(share) - 0.175) < 0.02


def test_blocks_reach_every_place_and_differ_between_samples() -> None:
    blocks = random_blocks(1000, 1, (6, 6), SCALE, ASPECT, generator=generator()).squeeze(1)
    share = blocks.float().mean(dim=0)
    assert share.min() > 0.01, "a corner is never covered"
    # Symmetric under both flips: no side is left out, as the authors' exclusive upper end leaves the last row.
    image = share.view(6, 6)
    assert (image - image.flip(0)).abs().max() < 0.06
    assert (image - image.flip(1)).abs().max() < 0.06


@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (4, 4), (5, 9), (16,), (2, 6, 6)])
def test_no_block_is_larger_than_the_lattice_says(grid: Any) -> None:
    blocks = random_blocks(2000, 4, grid, SCALE, ASPECT, generator=generator())
    largest = int(blocks.sum(dim=2).max())
    assert largest <= largest_block(grid, SCALE[1], ASPECT)
    if len(grid) == 2:
        assert largest_block(grid, SCALE[1], ASPECT) == max(h * w for h, w in sizes_of_the_paper(grid, SCALE, ASPECT))


def test_spans_on_one_axis() -> None:
    blocks = random_blocks(500, 2, (40,), SCALE, ASPECT, generator=generator())
    lengths = set(blocks.sum(dim=2).flatten().tolist())
    assert lengths == {6, 7, 8}
    assert (blocks.int().diff(dim=2).abs().sum(dim=2) <= 2).all(), "a span has a gap"


def test_video_blocks_reach_through_all_of_time() -> None:
    blocks = random_blocks(50, 2, (4, 6, 6), SCALE, ASPECT, generator=generator()).view(50, 2, 4, 36)
    assert (blocks == blocks[:, :, :1]).all()
    assert blocks[:, :, 0].any(dim=2).all()


def test_spans_of_padded_samples_lie_in_the_real_part_and_shrink_with_it() -> None:
    lengths = torch.tensor([40, 20, 10])
    # Padding in front in the last sample: nothing says that it must come last.
    padding = torch.arange(40).unsqueeze(0) >= lengths.unsqueeze(1)
    padding[2] = padding[2].flip(0)
    blocks = random_blocks(3, 300, (40,), SCALE, ASPECT, padding=padding, generator=generator())
    assert not (blocks & padding.unsqueeze(1)).any()
    counts = blocks.sum(dim=2)
    assert [set(row.tolist()) for row in counts] == [{6, 7, 8}, {3, 4}, {2}]
    assert (blocks.any(dim=1) == ~padding).all(), "some real tokens are never in a block"


@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (4, 4), (16,), (3,), (2, 4, 4)])
def test_context_and_targets_share_no_token_and_have_fixed_counts(grid: tuple[int, ...]) -> None:
    n = math.prod(grid)
    mask = paper_mask(200, grid, min_context=2)
    assert mask.context.shape == (200, max(round(0.25 * n), 2))
    assert mask.targets.shape == (200, 4, largest_block(grid, 0.2, ASPECT))
    hidden = torch.zeros(200, n, dtype=torch.long).scatter_add(1, mask.targets.flatten(1), mask.weight.long().flatten(1)) > 0
    seen = torch.zeros(200, n, dtype=torch.bool).scatter(1, mask.context, True)
    assert not (hidden & seen).any()
    assert (seen.sum(dim=1) >= 2).all()
    assert mask.weight.any(dim=(1, 2)).float().mean() > 0.7


def test_context_is_rarely_filled_up_on_the_papers_lattice() -> None:
    mask = paper_mask(500, (14, 14))
    distinct = torch.tensor([len(set(row.tolist())) for row in mask.context])
    assert (distinct == 49).float().mean() > 0.95
    # Most of each block is really predicted: nothing but what is in the context is taken from it, and that is nothing here.
    assert (mask.weight.sum(dim=2) >= 24).all()


@pytest.mark.parametrize(
    ("grid", "n_blocks", "scale"), [((4, 8, 8), 8, 0.15), ((4, 8, 8), 2, 0.7), ((2, 14, 14), 2, 0.7), ((20,), 2, 0.4)]
)
def test_the_union_of_blocks_is_one_target_and_the_context_what_it_leaves(
    grid: tuple[int, ...], n_blocks: int, scale: float
) -> None:
    n = math.prod(grid)
    mask = paper_mask(
        300,
        grid,
        n_targets=n_blocks,
        target_scale=(scale, scale),
        context_scale=None,
        context_share=1.0,
        min_context=1,
        union_share=1.0,
    )
    blocks = random_blocks(300, n_blocks, grid, (scale, scale), ASPECT, generator=generator())
    wanted = blocks.any(dim=1)
    assert mask.targets.shape == (300, 1, min(n_blocks * largest_block(grid, scale, ASPECT), n))
    hidden = torch.zeros(300, n, dtype=torch.long).scatter_add(1, mask.targets[:, 0], mask.weight[:, 0].long())
    assert hidden.max() == 1
    seen = torch.zeros(300, n, dtype=torch.bool).scatter(1, mask.context, True)
    covered = wanted.all(dim=1)
    assert torch.equal(hidden[~covered].bool(), wanted[~covered])
    assert torch.equal(seen[~covered], ~wanted[~covered])
    assert (seen[covered].sum(dim=1) == 1).all(), "one token stays where the blocks cover all"
    assert torch.equal(hidden[covered].bool(), ~seen[covered])


def test_of_a_large_union_random_tokens_are_predicted() -> None:
    def mask(share: float) -> MultiBlockMask:
        options = {"n_targets": 2, "target_scale": (0.5, 0.5), "context_scale": None, "union_share": share}
        return paper_mask(2000, (2, 6, 6), **options)

    whole, part = mask(1.0), mask(0.25)
    assert part.targets.shape == (2000, 1, 18)
    assert part.weight.all()
    assert torch.equal(part.context, whole.context)
    union = torch.zeros(2000, 72, dtype=torch.bool).scatter(1, whole.targets[:, 0], whole.weight[:, 0])
    assert union.gather(1, part.targets[:, 0]).all()
    predicted = torch.zeros(2000, 72).scatter(1, part.targets[:, 0], 1.0)
    rate = predicted.sum(dim=0) / union.sum(dim=0)
    times = rate.view(2, 36).mean(dim=1)
    assert abs(float(times[0] - times[1])) < 0.02, "early tokens of the union are predicted more often"


def test_a_context_without_a_block_leaves_padding_out() -> None:
    padding = torch.arange(24).unsqueeze(0) >= torch.tensor([24, 13, 5]).unsqueeze(1)
    mask = paper_mask(
        3, (24,), padding=padding, context_scale=None, context_share=1.0, union_share=1.0, target_scale=(0.3, 0.3)
    )
    assert not padding.gather(1, mask.context).any()
    seen = torch.zeros(3, 24, dtype=torch.bool).scatter(1, mask.context, True)
    hidden = torch.zeros(3, 24, dtype=torch.long).scatter_add(1, mask.targets[:, 0], mask.weight[:, 0].long()) > 0
    assert torch.equal(seen | hidden, ~padding)


def test_context_lies_in_its_block() -> None:
    mask = paper_mask(300, (10, 10), context_scale=(0.3, 0.3), n_targets=1, context_share=1.0, min_context=1)
    seen = torch.zeros(300, 100, dtype=torch.bool).scatter(1, mask.context, True).view(300, 10, 10)
    assert (seen.any(dim=2).sum(dim=1) <= 5).all()
    assert (seen.any(dim=1).sum(dim=1) <= 5).all()


def test_padding_is_neither_context_nor_target() -> None:
    padding = torch.arange(24).unsqueeze(0) >= torch.tensor([24, 13, 5, 2, 1]).unsqueeze(1)
    mask = paper_mask(5, (24,), padding=padding)
    assert not padding.gather(1, mask.context).any()
    assert not (padding.gather(1, mask.targets.flatten(1)) & mask.weight.flatten(1)).any()
    assert mask.weight.sum(dim=(1, 2))[0] > 0
    assert mask.weight.sum(dim=(1, 2))[4] == 0, "a lone token is context, and there is nothing to predict"


@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (16,)])
@pytest.mark.parametrize("ratio", [0.4, 0.6])
def test_block_wise_masks_have_the_exact_count_and_hang_together(grid: tuple[int, ...], ratio: float) -> None:
    n = math.prod(grid)
    split = block_mask(300, grid, ratio, (0.08, 0.3), (0.3, 1 / 0.3), generator=generator())
    assert split.mask.sum(dim=1).tolist() == [hidden_count(n, ratio)] * 300
    cells = split.mask.view(300, *grid).float()
    neighbours = (cells[..., 1:] * cells[..., :-1]).mean() / cells.mean()
    assert neighbours > ratio + 0.15, "no more neighbours are hidden together than by chance"


def test_block_wise_masks_respect_padding() -> None:
    lengths = [20, 9, 2]
    padding = torch.arange(20).unsqueeze(0) >= torch.tensor(lengths).unsqueeze(1)
    split = block_mask(3, (20,), 0.5, (0.1, 0.3), ASPECT, padding=padding, generator=generator())
    assert not (split.mask & padding).any()
    assert split.mask.sum(dim=1).tolist() == [10, 5, 1]
