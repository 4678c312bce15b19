import pytest
import torch

from selfsup_images.blur import gaussian_blur, gaussian_kernels, kernel_size_for

TF = pytest.importorskip("torchvision.transforms.v2.functional", reason="the core does without torchvision")


@pytest.mark.parametrize("kernel_size", [3, 9])
def test_blur_equals_torchvision(kernel_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, 20, 17, generator=generator)
    sigma = torch.rand(16, generator=generator) * 1.9 + 0.1
    ours = gaussian_blur(images, gaussian_kernels(sigma, kernel_size))
    for image, s, result in zip(images, sigma.tolist(), ours, strict=True):
        theirs = TF.gaussian_blur(image, [kernel_size, kernel_size], [s, s])
        torch.testing.assert_close(result, theirs, atol=1e-5, rtol=0)


def test_kernel_size_is_a_tenth_and_odd() -> None:
    assert [kernel_size_for(size) for size in (16, 32, 96, 100, 224)] == [3, 3, 9, 11, 23]
