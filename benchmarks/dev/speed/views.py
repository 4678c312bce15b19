"""Augmented views a second, against lightly's SimCLRTransform in a DataLoader of two workers."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch

from selfsup.registry import registry
from selfsup.runtime import cpu_count
from speed.apart import apart
from speed.measure import Figure, Settings, in_turn, peer, ratio_figure, seconds
from speed.synthetic_data import images

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
def peer_loader(n: int, size: int, pin: bool = False) -> Any:
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
        pictures, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True, pin_memory=pin
    )


def peer_views(n: int, size: int, device: str) -> float:
    """Images a second of lightly's loader, from which the views go to the device."""
    loader = peer_loader(n, size, device == "cuda")

    def epoch() -> None:
        for views, _ in loader:
            for view in views:
                view.to(device, non_blocking=True)

    return len(loader) * BATCH / seconds(epoch, device)


def views_figure(size: int, *, goal: float, n: int, settings: Settings) -> Figure:
    """Images a second, two views of each on the device, both sides starting from decoded 8-bit images in memory."""
    device = settings.device
    torch.set_num_threads(cpu_count())
    made = images(n, size)
    info = {"image_size": size}
    recipe = registry().modality_objects("vision").views
    assert recipe is not None
    views = recipe.build(recipe.config(), info)
    store = torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
    store = store.pin_memory() if device == "cuda" else store
    generator = torch.Generator(device).manual_seed(0)

    def epoch() -> None:
        order = torch.randperm(n)
        for i in range(n // BATCH):
            image = store.index_select(0, order[i * BATCH : (i + 1) * BATCH])
            views({"image": image.to(device, non_blocking=True)}, generator)

    def ours() -> float:
        return (n // BATCH) * BATCH / seconds(epoch, device)

    with apart() as there:
        theirs = partial(there(peer_views), n, size, device)
        ours()
        theirs()  # starts the workers, which live on
        mine, other = in_turn(ours, theirs, repeats=settings.repeats)
    return ratio_figure(
        f"views-{size}",
        f"two SimCLR views of each image at {size}x{size}{' on the GPU' if device == 'cuda' else ''}, against lightly's "
        f"SimCLRTransform in a {WORKERS}-worker DataLoader",
        mine,
        other,
        unit="images/s",
        compare=">=",
        goal=goal,
    )
