import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from selfsup.testing.kit.task_checks import generator
from selfsup_audio.tasks.alteration import AlterationConfig, alter_frames

B, N, R, M = 1000, 100, 2, 20


def frames_and_padding(lengths: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames that hold the number of their token: 1, 2, 3, ..."""
    frames = torch.arange(1.0, N + 1).view(1, N, 1, 1).expand(B, N, R, M).clone()
    padding = torch.zeros(B, N, dtype=torch.bool) if lengths is None else torch.arange(N) >= lengths.unsqueeze(1)
    return frames, padding


def altered(lengths: torch.Tensor | None = None, **options: Any) -> tuple[torch.Tensor, torch.Tensor, Any]:
    frames, padding = frames_and_padding(lengths)
    return frames, padding, alter_frames(frames, padding, AlterationConfig(**options), generator())


def test_spans_along_time_become_zeros_others_or_stay_as_often_as_the_papers_say() -> None:
    frames, _, out = altered()
    chosen = out.mask.mask
    # 15 % less a small overlap.
    assert 0.12 < chosen.float().mean().item() < 0.16
    assert torch.equal(out.frames[~chosen], frames[~chosen])
    clips = chosen.any(dim=1)
    assert clips.all()
    zero = torch.stack([(f[c] == 0).all() for f, c in zip(out.frames, chosen, strict=True)])
    same = torch.stack([(f[c] == g[c]).all() for f, g, c in zip(out.frames, frames, chosen, strict=True)])
    assert zero.float().mean().item() == pytest.approx(0.8, abs=5 * math.sqrt(0.16 / B))
    assert same.float().mean().item() == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / B))
    rest = ~zero & ~same
    values = out.frames[rest][chosen[rest]]
    assert (values == values[:, :1, :1]).all(), "a random token is no whole token"
    share = torch.bincount(values[:, 0, 0].long(), minlength=N + 1)[1:] / len(values)
    assert (share - 1 / N).abs().max() < 6 * math.sqrt(1 / N / len(values))


def test_random_tokens_are_real_ones() -> None:
    lengths = torch.randint(4, 20, (B,), generator=generator())
    frames, padding, out = altered(lengths, zero_share=0.0, random_share=1.0)
    assert torch.equal(out.frames[padding], frames[padding])
    assert not (out.mask.mask & padding).any()
    assert (out.frames[:, :, 0, 0] <= lengths.unsqueeze(1)).masked_fill(padding, True).all()


def test_mockingjay_leaves_frequencies_and_magnitudes_alone() -> None:
    frames, _, out = altered(zero_share=0.0, random_share=0.0)
    assert torch.equal(out.frames, frames)


def test_bands_are_zeroed_side_by_side_through_the_whole_clip() -> None:
    _, _, out = altered(zero_share=0.0, random_share=0.0, frequency_share=0.2)
    gone = out.frames == 0
    assert (gone == gone[:, :1, :1]).all()
    bands = gone[:, 0, 0]
    width = bands.sum(dim=1)
    share = torch.bincount(width, minlength=5) / B
    assert len(share) == 5, "at most a fifth of the 20 bands"
    assert (share - 0.2).abs().max() < 5 * math.sqrt(0.16 / B)
    edges = (bands[:, 1:] != bands[:, :-1]).sum(dim=1)
    assert (edges <= 2).all()
    start = bands.int().argmax(dim=1)[width == 4]
    assert set(start.tolist()) == set(range(17))


def test_some_clips_get_noise() -> None:
    frames, _, out = altered(zero_share=0.0, random_share=0.0, noise_probability=0.15, noise_std=0.2)
    noisy = (out.frames != frames).flatten(1).any(dim=1)
    assert noisy.float().mean().item() == pytest.approx(0.15, abs=5 * math.sqrt(0.15 * 0.85 / B))
    assert (out.frames - frames)[noisy].std().item() == pytest.approx(0.2, abs=0.005)


def test_shares_that_are_more_than_all_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than 1 together"):
        AlterationConfig(zero_share=0.9, random_share=0.2)
