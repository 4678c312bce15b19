"""Made-up videos and recordings for measurements of speed and memory. Their content has no meaning."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from speed.images import images
from speed.measure import peer

RATE = 8000
"""Samples a second of the recordings."""


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


def write_sounds(folder: Path, n: int) -> None:
    """A folder of ``n`` WAV files of a second: noise of 8,000 samples of 16 bits."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(n):
        with wave.open(str(folder / f"{number:06d}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(rng.integers(-8000, 8000, RATE, dtype=np.int16).tobytes())
