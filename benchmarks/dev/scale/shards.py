"""Write tar archives of small JPEG files; no two files hold the same bytes."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speed.synthetic_data import images

_DIFFERENT = 64
"""Pictures that are drawn and encoded; the files are these, each with its number behind the end of the image."""


@dataclass(frozen=True)
class Shards:
    """Archives in a folder."""

    folder: Path
    count: int
    rows: int
    """Of all archives."""
    nbytes: int
    """Of all archives."""

    @property
    def pattern(self) -> str:
        """Their names, as a source has them."""
        return f"shard-{{0000..{self.count - 1:04d}}}.tar"


def write_shards(folder: Path, count: int, rows: int, size: int, *, padding: int = 0, seed: int = 0) -> Shards:
    """Write ``count`` archives of ``rows`` JPEG files with ``size`` pixels a side.

    Args:
        folder: where.
        count: archives.
        rows: files of each.
        size: pixels.
        padding: bytes behind each image: a file that is large and quick to decode.
        seed: of the images.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).bytes(padding)
    encoded = []
    for image in images(_DIFFERENT, size, seed=seed):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=95)
        encoded.append(buffer.getvalue())
    nbytes = 0
    for shard in range(count):
        path = folder / f"shard-{shard:04d}.tar"
        with tarfile.open(path, "w") as archive:
            for number in range(shard * rows, (shard + 1) * rows):
                content = encoded[number % _DIFFERENT] + noise + number.to_bytes(8, "big")  # behind the image nothing is read
                member = tarfile.TarInfo(f"{number:09d}.jpg")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        nbytes += path.stat().st_size
    return Shards(folder, count, count * rows, nbytes)
