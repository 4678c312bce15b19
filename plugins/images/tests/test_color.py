from itertools import permutations

import pytest
import torch

from selfsup_images.color import Jitter, greyscale_, jitter_, random_jitter, shift_hue_, solarize

TF = pytest.importorskip("torchvision.transforms.v2.functional", reason="compares with torchvision")
CPU = torch.device("cpu")


def _images(n: int = 48) -> torch.Tensor:
    images = torch.rand(n, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    images[0] = 0.0
    images[1] = 1.0
    images[2] = 0.5
    images[3, 1:] = 0.0
    images[4, 0] = images[4, 1]
    images[5, 1] = images[5, 2]
    return images


def _torchvision(images: torch.Tensor, jitter: Jitter) -> torch.Tensor:
    steps = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    results = []
    for image, factors, order in zip(images, jitter.factors, jitter.order, strict=True):
        for step in order.tolist():
            image = steps[step](image, float(factors[step]))
        results.append(image)
    return torch.stack(results)


@pytest.mark.parametrize("hue", [0.5, 0.0])
def test_jitter_equals_torchvision_in_every_order(hue: float) -> None:
    images = _images()
    jitter = random_jitter(48, (0.8, 0.8, 0.8, hue), 1.0, generator=torch.Generator().manual_seed(3), device=CPU)
    jitter = Jitter(jitter.factors, torch.tensor(list(permutations(range(4))) * 2), jitter.used)
    ours = jitter_(images.clone(), jitter, hue=hue > 0)
    torch.testing.assert_close(ours, _torchvision(images, jitter), atol=1e-5, rtol=0)


def test_hue_equals_torchvision() -> None:
    images = _images()
    for shift in (-0.5, -0.31, 0.0, 0.07, 0.25, 0.5):
        ours = shift_hue_(images.clone(), torch.full((len(images),), shift))
        torch.testing.assert_close(ours, TF.adjust_hue(images, shift), atol=1e-5, rtol=0)


def test_greyscale_and_solarize_equal_torchvision_and_spare_the_others() -> None:
    images = _images()
    used = torch.arange(48) % 3 == 0
    grey = greyscale_(images.clone(), used)
    torch.testing.assert_close(grey[used], TF.rgb_to_grayscale(images[used], 3), atol=1e-6, rtol=0)
    assert torch.equal(grey[~used], images[~used])  # to the bit
    inverted = solarize(images, used)
    assert torch.equal(inverted[used], TF.solarize(images[used], 0.5))
    assert torch.equal(inverted[~used], images[~used])


def test_jitter_draws_have_the_stated_ranges_probability_and_orders() -> None:
    n = 20_000
    jitter = random_jitter(n, (0.4, 1.5, 0.2, 0.1), 0.8, generator=torch.Generator().manual_seed(0), device=CPU)
    neutral = (jitter.factors == torch.tensor([1.0, 1.0, 1.0, 0.0])).all(dim=1)
    assert abs(float((~neutral).float().mean()) - 0.8) < 0.012
    assert torch.equal(neutral, ~jitter.used)
    low, high = jitter.factors.min(dim=0).values, jitter.factors.max(dim=0).values
    torch.testing.assert_close(low, torch.tensor([0.6, 0.0, 0.8, -0.1]), atol=2e-3, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 2.5, 1.2, 0.1]), atol=2e-3, rtol=0)
    code = (jitter.order * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    counts = torch.unique(code, return_counts=True)[1].float() / n
    assert len(counts) == 24
    assert float((counts - 1 / 24).abs().max()) < 0.006
