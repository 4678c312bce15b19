"""Made-up images with the statistics that matter for speed: smooth areas, edges, colour. Their content has no meaning."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

Images = np.ndarray[Any, np.dtype[np.uint8]]


def images(n: int, size: int, seed: int = 0) -> Images:
    """[n, size, size, 3] uint8: coarse random colours, enlarged, with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 5, 5, 3), dtype=np.int16)
    repeat = -(-size // 5)
    large = coarse.repeat(repeat, axis=1).repeat(repeat, axis=2)[:, :size, :size]
    noise = rng.integers(-8, 9, large.shape, dtype=np.int16)
    made: Images = np.clip(large + noise, 0, 255).astype(np.uint8)
    return made


def write_folder(folder: Path, n: int, size: int) -> Path:
    """A folder of ``n`` PNG files."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, n, 500):
        for i, image in enumerate(images(min(500, n - start), size, seed=start), start):
            Image.fromarray(image).save(folder / f"{i:06d}.png", compress_level=1)
    return folder


def as_dataset(made: Images) -> Any:
    """The images as a ``datasets.Dataset`` of PNG bytes."""
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature
    from PIL import Image

    def png(image: Images) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
        return buffer.getvalue()

    rows = [{"bytes": png(image), "path": None} for image in made]
    return Dataset.from_dict({"image": rows}, features=Features({"image": ImageFeature()}))
