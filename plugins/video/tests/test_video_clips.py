import numpy as np
import pytest
import torch

from selfsup.errors import ConfigError
from selfsup_video.clips import clip_indices, clip_shape, random_window, take_frames, window_index

INFO = {"frames": 8}


def numbered(B: int = 3, T: int = 16) -> torch.Tensor:
    """Frames that hold sample * 100 + number."""
    numbers = torch.arange(B).view(B, 1) * 100 + torch.arange(T)
    return numbers.view(B, T, 1, 1, 1).expand(B, T, 3, 4, 4).contiguous().float()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_clip_lies_in_the_middle_and_several_are_spread_from_end_to_end() -> None:
    assert clip_indices(100, 4, 2, 1).tolist() == [46, 48, 50, 52]
    assert clip_indices(100, 4, 2, 3).tolist() == [0, 2, 4, 6, 46, 48, 50, 52, 93, 95, 97, 99]
    assert clip_indices(100, 1, 5, 2).tolist() == [0, 99]


def test_the_stride_shrinks_and_then_the_last_frame_repeats() -> None:
    assert clip_indices(10, 4, 5, 1).tolist() == [0, 3, 6, 9]
    assert clip_indices(5, 4, 5, 1).tolist() == [0, 1, 2, 3]
    assert clip_indices(3, 4, 5, 1).tolist() == [0, 1, 2, 2]
    assert clip_indices(1, 4, 2, 2).tolist() == [0] * 8
    for n in range(1, 60):
        indices = clip_indices(n, 7, 3, 2)
        assert indices.shape == (14,)
        assert indices.min() >= 0
        assert indices.max() < n
        assert (np.diff(indices.reshape(2, 7)) >= 0).all()


def test_the_number_of_clips_follows_from_the_length() -> None:
    assert clip_shape(numbered(T=16), INFO) == (2, 8)
    assert clip_shape(numbered(T=8), INFO) == (1, 8)
    assert clip_shape(numbered(T=4), INFO) == (1, 4)
    assert clip_shape(numbered(T=12), INFO) == (1, 12)


def test_windows_are_uniform_in_the_clips() -> None:
    video = numbered(B=4000)
    window = random_window(video, INFO, 3, seeded(), spacing=2).of(video)["video"][:, :, 0, 0, 0]
    assert window.shape == (4000, 3)
    assert torch.equal(window // 100, torch.arange(4000.0).view(-1, 1).expand(-1, 3))
    places = window % 100
    assert bool((places.diff(dim=1) == 2).all())
    first = places[:, 0].long()
    counts = torch.bincount(first, minlength=16)
    # Four places in each of two clips: a window of five frames of eight.
    assert counts.nonzero().flatten().tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert int(counts[counts > 0].min()) > 400


def test_place_clip_and_spacing_can_be_given_for_each_sample() -> None:
    index = window_index(
        4, 2, 8, 3, None, spacing=torch.tensor([1, 2, 3, 4]), place=torch.tensor([0.0, 1.0, 0.99, 1.0]),
        clip=torch.tensor([0, 1, 0, 1]), device=torch.device("cpu"),
    )  # fmt: skip
    assert index.places.tolist() == [[0, 1, 2], [11, 13, 15], [1, 4, 7], [8, 12, 15]]


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="5 frames, 2 apart, do not fit into a clip of 8"):
        random_window(numbered(), INFO, 5, None, spacing=2)
    with pytest.raises(ConfigError, match="0 frames"):
        random_window(numbered(), INFO, 0, None)


def test_frames_are_taken_in_any_order() -> None:
    video = numbered(B=2, T=4)
    taken = take_frames(video, torch.tensor([[3, 0, 0], [1, 2, 3]]))
    assert taken[:, :, 0, 0, 0].tolist() == [[3, 0, 0], [101, 102, 103]]
