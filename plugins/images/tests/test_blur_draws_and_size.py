import pytest
import torch

from selfsup_images.blur import gaussian_blur, gaussian_kernels, kernel_size_for
from selfsup_images.draws import random_subset
from selfsup_images.size import resize_frames

TF = pytest.importorskip("torchvision.transforms.v2.functional", reason="compares with torchvision")
CPU = torch.device("cpu")


def test_blur_equals_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, 20, 17, generator=generator)
    sigma = torch.rand(16, generator=generator) * 1.9 + 0.1
    for kernel_size in (3, 9):
        ours = gaussian_blur(images, gaussian_kernels(sigma, kernel_size))
        for image, s, result in zip(images, sigma.tolist(), ours, strict=True):
            torch.testing.assert_close(result, TF.gaussian_blur(image, [kernel_size] * 2, [s, s]), atol=1e-5, rtol=0)
    assert [kernel_size_for(size) for size in (16, 32, 96, 100, 224)] == [3, 3, 9, 11, 23]


@pytest.mark.parametrize(("n", "probability"), [(7, 0.5), (5, 0.1), (1, 0.3), (10, 0.8), (6, 0.0), (6, 1.0)])
def test_random_subset_has_the_stated_probability_and_size(n: int, probability: float) -> None:
    generator, rounds = torch.Generator().manual_seed(0), 2000
    hits = torch.zeros(n)
    for _ in range(rounds):
        index, active = random_subset(n, probability, generator=generator, device=CPU)
        hits[index[active]] += 1
        assert int(active.sum()) in (int(n * probability), int(n * probability) + 1)
    assert float((hits / rounds - probability).abs().max()) < (0.045 if 0 < probability < 1 else 1e-6)


def test_frames_are_resized() -> None:
    video = torch.rand(2, 5, 3, 8, 8)
    resized = resize_frames({"video": video, "length": torch.ones(2)}, 4)
    assert resized["video"].shape == (2, 5, 3, 4, 4)
    assert torch.allclose(resized["video"].mean(), video.mean(), atol=0.02)
    batch = {"image": torch.full((1, 1, 4, 4), 7, dtype=torch.uint8)}
    assert resize_frames(batch, 4) is batch
    assert (resize_frames(batch, 9)["image"] == 7).all()
