import torch

from selfsup_video.features import frame_pixels
from selfsup_video.mock import mock_rows
from selfsup_video.processor import VideoProcessor
from selfsup_video.sizes import local_size_for, patch_size_for, window_for


def test_sizes_fit_each_other() -> None:
    assert [patch_size_for(size) for size in (16, 24, 32, 48, 64, 96, 112, 224)] == [4, 4, 4, 8, 8, 16, 16, 16]
    assert [local_size_for(size) for size in (16, 32, 64, 112)] == [8, 12, 24, 48]
    assert [window_for(frames) for frames in (1, 2, 3, 4, 8, 10, 16)] == [1, 1, 1, 2, 4, 4, 8]


def test_raw_features_are_the_mean_image_and_the_mean_change() -> None:
    video = torch.rand(2, 5, 3, 32, 32)
    features = frame_pixels({"video": video}, {})
    assert features.shape == (2, 2 * 3 * 16 * 16)
    mean, change = features.view(2, 2, 3, 16, 16).unbind(1)
    shrunk = lambda x: x.view(2, 3, 16, 2, 16, 2).mean(dim=(3, 5))  # noqa: E731
    torch.testing.assert_close(mean, shrunk(video.mean(dim=1)))
    torch.testing.assert_close(change, shrunk(video.diff(dim=1).abs().mean(dim=1)))
    still = frame_pixels({"video": (video[:, :1] * 255).to(torch.uint8)}, {})
    assert torch.equal(still[:, 768:], torch.zeros(2, 768))


def test_mock_rows_follow_their_seed_and_move() -> None:
    processor = VideoProcessor().fit(mock_rows(4, 0))
    video, again, other = (processor(mock_rows(4, seed))["video"] for seed in (0, 0, 1))
    assert video.shape == (4, 16, 3, 16, 16)
    assert torch.equal(video, again)
    assert not torch.equal(video, other)
    light = video.float().mean(dim=(2, 3, 4))
    assert bool((light[:, -1] > light[:, 0]).all())
