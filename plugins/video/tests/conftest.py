"""Made-up videos for the tests: encoded files of any container, whose frames tell their number."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest

VideoMaker = Callable[..., bytes]


QUALITY = {"libx264": {"crf": "10"}, "libvpx": {"crf": "4", "b": "2M"}}


def encode(
    format: str = "mp4", codec: str = "libx264", frames: int = 40, size: tuple[int, int] = (64, 48), key_every: int = 12,
    pixel_format: str = "yuv420p", aspect: Fraction | None = None, title: str = "",
) -> bytes:  # fmt: skip
    """A video whose frames tell their number: greys of the lower half, sixteens left and ones right. Red corner above left."""
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
