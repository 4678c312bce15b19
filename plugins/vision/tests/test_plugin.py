import datasets as hub
import pytest
import torch

from selfsup_vision import datasets, plugin
from selfsup_vision.features import pixels
from selfsup_vision.mock import mock_rows
from selfsup_vision.processor import ImageProcessor

TASKS = [
    "rotation", "patch-position", "jigsaw", "colorization", "simclr", "mocov2", "mocov3", "byol", "simsiam", "barlow-twins",
    "vicreg", "vicregl", "swav", "dino", "lejepa", "denoising-autoencoder", "inpainting", "mae", "simmim", "ijepa",
    "data2vec",
]  # fmt: skip


def test_the_plugin_registers_the_tasks_of_vision() -> None:
    assert sorted(spec.id for spec in plugin.selfsup_tasks()) == sorted(f"vision/{name}" for name in TASKS)


@pytest.mark.parametrize(("name", "split", "asked"), [
    ("cifar10", "train", ("uoft-cs/cifar10", None, "train")),
    ("cifar100", "test", ("uoft-cs/cifar100", None, "test")),
    ("stl10", "unlabeled", ("jxie/stl10", None, "unlabeled")),
    ("imagenette", "test", ("frgfm/imagenette", "160px", "validation")),
])  # fmt: skip
def test_data_sets_ask_the_hub_for_a_split(
    name: str, split: str, asked: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "load_dataset", lambda path, config, split: (path, config, split))
    assert getattr(datasets, name)(split) == asked


def test_raw_features_are_pixels_of_at_most_32_a_side() -> None:
    small = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(pixels({"image": small}, {}), (small / 255).flatten(1))
    large = torch.rand(2, 3, 64, 64)
    means = large.view(2, 3, 32, 2, 32, 2).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(pixels({"image": large}, {}), means, atol=1e-6, rtol=0)


def test_mock_rows_follow_their_seed() -> None:
    batch = ImageProcessor().fit(mock_rows(4, 0))(mock_rows(4, 0))["image"]
    again, other = (ImageProcessor().fit(mock_rows(4, 0))(mock_rows(4, seed))["image"] for seed in (0, 1))
    assert batch.shape == (4, 3, 24, 24)
    assert torch.equal(batch, again)
    assert not torch.equal(batch, other)
