"""Synthetic images, videos and recordings for measurements of speed and memory. Their content has no meaning."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np

from speed.measure import peer

Images = np.ndarray[Any, np.dtype[np.uint8]]

RATE = 8000
"""Samples a second of the recordings."""


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


def write_videos(folder: Path, n: int, *, size: int = 64, frames: int = 32) -> None:
    """A folder of ``n`` MP4 files (MPEG-4 part 2, a key frame every twelve): a coarse pattern that wanders.

    Args:
        folder: is made.
        n: number of files.
        size: pixels a side, at least 16 and even.
        frames: of each.
    """
    av = peer("av")
    folder.mkdir(parents=True)
    for number in range(n):
        (pattern,) = images(1, size, seed=number)
        with av.open(str(folder / f"{number:06d}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            # One thread: otherwise each file would start as many as there are cores.
            stream.codec_context.thread_count = 1
            for step in range(frames):
                shifted = np.ascontiguousarray(np.roll(pattern, 2 * step, axis=1))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shifted, format="rgb24")))
            container.mux(stream.encode())


def write_sounds(folder: Path, n: int, *, seconds: int = 1, rate: int = RATE) -> None:
    """A folder of ``n`` WAV files: noise of 16 bits."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(n):
        with wave.open(str(folder / f"{number:06d}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(rng.integers(-8000, 8000, seconds * rate, dtype=np.int16).tobytes())
