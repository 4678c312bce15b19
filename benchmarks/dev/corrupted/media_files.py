"""Small images, sounds and videos of every format, made from noise."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image


def sound(format: str, subtype: str) -> bytes:
    """A noise of 0.6 s in two channels."""
    out = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, (9600, 2))
    soundfile.write(out, noise, 48000 if subtype == "OPUS" else 16000, format=format, subtype=subtype)
    return out.getvalue()


def film(format: str, codec: str, aspect: Fraction | None = None, size: tuple[int, int] = (48, 32), frames: int = 20) -> bytes:
    """Frames of a picture that moves.

    Args:
        format: of the container, as FFmpeg calls it.
        codec: as FFmpeg calls it.
        aspect: of a pixel, width to height; None: not stated.
        size: width and height in pixels.
        frames: their number.
    """
    out = io.BytesIO()
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with av.open(out, "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=25, options={"g": "6"})
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.thread_count = 1
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, number, 1), format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def picture(format: str, **options: Any) -> bytes:
    """Noise of 40 x 30 pixels."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(out, format, **options)
    return out.getvalue()


MEDIA: dict[str, tuple[str, Callable[[], bytes]]] = {
    "wav": ("audio", lambda: sound("WAV", "PCM_16")),
    "float.wav": ("audio", lambda: sound("WAV", "FLOAT")),
    "flac": ("audio", lambda: sound("FLAC", "PCM_16")),
    "ogg": ("audio", lambda: sound("OGG", "VORBIS")),
    "opus": ("audio", lambda: sound("OGG", "OPUS")),
    "mp3": ("audio", lambda: sound("MP3", "MPEG_LAYER_III")),
    "aiff": ("audio", lambda: sound("AIFF", "PCM_16")),
    "mp4": ("video", lambda: film("mp4", "libx264")),
    "mkv": ("video", lambda: film("matroska", "mpeg4")),
    "webm": ("video", lambda: film("webm", "libvpx")),
    "avi": ("video", lambda: film("avi", "mpeg4")),
    "ts": ("video", lambda: film("mpegts", "libx264")),
    "film.gif": ("video", lambda: film("gif", "gif")),
    "png": ("vision", lambda: picture("PNG")),
    "jpg": ("vision", lambda: picture("JPEG")),
    "tiff": ("vision", lambda: picture("TIFF", compression="tiff_lzw")),
    "webp": ("vision", lambda: picture("WEBP")),
    "bmp": ("vision", lambda: picture("BMP")),
    "gif": ("vision", lambda: picture("GIF")),
}
"""Suffix to modality and what makes a whole file."""
SETTINGS: dict[str, dict[str, Any]] = {
    "audio": {"sample_rate": 8000, "clip_seconds": 0.5},
    "video": {"image_size": 16, "frames": 8},
    "vision": {"image_size": 16},
}
"""Options of the processor of each modality."""
