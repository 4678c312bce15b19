import torch

from selfsup_images.size import resize_frames


def test_frames_of_another_size() -> None:
    video = torch.rand(2, 5, 3, 8, 8)
    resized = resize_frames({"video": video, "length": torch.ones(2)}, 4)
    assert resized["video"].shape == (2, 5, 3, 4, 4)
    assert torch.allclose(resized["video"].mean(), video.mean(), atol=0.02)
    batch = {"image": torch.full((1, 1, 4, 4), 7, dtype=torch.uint8)}
    assert resize_frames(batch, 4) is batch
    assert (resize_frames(batch, 9)["image"] == 7).all()
