"""Synthetic videos for the tests, in files of any container, whose frames encode their number; and seeded generators."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

VideoMaker = Callable[..., bytes]


QUALITY = {"libx264": {"crf": "10"}, "libvpx": {"crf": "4", "b": "2M"}}


def encode(
    format: str = "mp4", codec: str = "libx264", frames: int = 40, size: tuple[int, int] = (64, 48), key_every: int = 12,
    pixel_format: str = "yuv420p", aspect: Fraction | None = None, title: str = "",
) -> bytes:  # fmt: skip
    """A video whose frames show their number by the greys of the lower half, sixteens left and ones right; top left is red."""
    width, height = size
    out = io.BytesIO()
    with av.open(out, "w", format=format) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=10, options={"g": str(key_every), **QUALITY.get(codec, {})})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.thread_count = 1
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(frames):
            pixels = np.full((height, width, 3), 16 * (number % 16), dtype=np.uint8)
            pixels[:, : width // 2] = 16 * (number // 16)
            pixels[: height // 4, : width // 4] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.fixture
def make_video() -> VideoMaker:
    """:func:`encode`."""
    return encode


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def seeded() -> Callable[..., torch.Generator]:
    """A generator with a seed, 0 by default."""
    return lambda seed=0: torch.Generator().manual_seed(seed)
