"""Augmented views a second, against lightly's SimCLRTransform in a DataLoader of two workers."""

from __future__ import annotations

import time
from functools import lru_cache, partial
from typing import Any

import torch

from selfsup.registry import registry
from selfsup.runtime import cpu_count
from speed.apart import apart
from speed.made_up_data import images
from speed.measure import Figure, in_turn, peer, ratio_figure

WORKERS = 2
BATCH = 256


class PeerImages(torch.utils.data.Dataset[Any]):
    """Decoded PIL images with a transform, as torchvision's data sets give them."""

    def __init__(self, pictures: list[Any], transform: Any) -> None:
        self.pictures, self.transform = pictures, transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The views of one image, and a label that nobody uses."""
        return self.transform(self.pictures[index]), 0


@lru_cache(maxsize=1)
def peer_loader(n: int, size: int) -> Any:
    """lightly's views of the same images; the blur is left out at 32 pixels, as in its CIFAR-10 example and in ours.

    Cached, so that its workers live on from one measurement to the next.
    """
    from PIL import Image

    transforms = peer("lightly.transforms", "lightly")
    transform = transforms.SimCLRTransform(
        input_size=size, gaussian_blur=0.5 if size >= 64 else 0.0, cj_strength=1.0 if size >= 64 else 0.5
    )
    pictures = PeerImages([Image.fromarray(image) for image in images(n, size)], transform)
    return torch.utils.data.DataLoader(
        pictures, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )


def peer_views(n: int, size: int) -> float:
    """Images a second of lightly's loader."""
    loader = peer_loader(n, size)
    began = time.perf_counter()
    for _ in loader:
        pass
    return len(loader) * BATCH / (time.perf_counter() - began)


def views_figure(size: int, *, goal: float, n: int, repeats: int) -> Figure:
    """Images a second, two views of each, both sides starting from decoded 8-bit images in memory."""
    torch.set_num_threads(cpu_count())
    made = images(n, size)
    info = {"image_size": size}
    recipe = registry().modality_objects("vision").views
    assert recipe is not None
    views = recipe.build(recipe.config(), info)
    store = torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
    generator = torch.Generator().manual_seed(0)

    def ours() -> float:
        began = time.perf_counter()
        order = torch.randperm(n)
        for i in range(n // BATCH):
            views({"image": store.index_select(0, order[i * BATCH : (i + 1) * BATCH])}, generator)
        return (n // BATCH) * BATCH / (time.perf_counter() - began)

    with apart() as there:
        theirs = there(peer_views)
        ours()
        theirs(n, size)  # starts the workers, which live on
        mine, other = in_turn(ours, partial(theirs, n, size), repeats=repeats)
    return ratio_figure(
        f"views-{size}",
        f"two SimCLR views of each image at {size}x{size}, against lightly's SimCLRTransform in a {WORKERS}-worker DataLoader",
        mine,
        other,
        unit="images/s",
        compare=">=",
        goal=goal,
    )
