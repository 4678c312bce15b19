"""Choose the reader for a row's value."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data import Segment, check_media_file
from selfsup.errors import BadRowError
from selfsup.runtime import read_npy
from selfsup_video.decoding.files import MAX_PIXELS, Header, decode_file, file_header
from selfsup_video.decoding.frames import decode_frames, frame_paths, frames_shorter_side, from_array

_NPY = b"\x93NUMPY"
"""How npy files begin."""
Choose = Callable[[int], np.ndarray[Any, np.dtype[np.int64]]]
"""From the number of frames of a video to the wanted ones, in ascending order, with repetitions."""


def decode(
    value: Any, size: int, choose: Choose, segment: Segment | None = None, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode the wanted frames to RGB, resize the shorter side to ``size`` (antialiased), and cut the centre.

    Only the wanted frames are held in memory, except for an array that the row itself holds.

    Args:
        value: ``{"bytes": ..., "path": ...}`` (either may be None), an encoded file, its path or that of a folder of frames, an
            array [T, H, W] or [T, H, W, 3] of uint8, or of float in 0..1, an npy file of one, or a list of images, files or
            paths of frames.
        size: S in pixels.
        choose: chooses the frames.
        segment: the part of a file that is the video, counted from its first frame; None: all.
        max_pixels: of a frame of a file; larger ones are not decoded.

    Returns:
        [n, 3, S, S] uint8.

    Raises:
        BadRowError: the video cannot be read or decoded, or does not hold the segment.
    """
    source = _opened(value)
    if isinstance(source, list):
        if segment is not None:
            raise BadRowError("single frames have no times, so a part of them cannot be cut out by seconds")
        return decode_frames(source, size, choose)
    return decode_file(source, size, choose, segment, max_pixels)


def read_header(value: Any) -> Header:
    """Size, length and rate of a video, from its header or its first frame.

    Raises:
        BadRowError: it cannot be read.
    """
    source = _opened(value)
    return Header(frames_shorter_side(source), len(source), None) if isinstance(source, list) else file_header(source)


def _read_npy(source: Any) -> np.ndarray[Any, Any]:
    """The array of an npy file; only the used part of a file on disk is read. Nothing in it is executed."""
    try:
        if isinstance(source, str):
            array: np.ndarray[Any, Any] = np.load(source, mmap_mode="r", allow_pickle=False)
        else:
            array = read_npy(source)
    except Exception as error:  # NumPy evaluates the header as Python's own syntax, whose parser raises errors of many kinds
        raise BadRowError(f"the npy file cannot be read: {error}") from error
    return array


def _opened(value: Any) -> list[Any] | str | io.BytesIO:
    """A list of frames, or a file."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None:
        raise BadRowError("there is no video (neither bytes nor a path)")
    if isinstance(value, np.ndarray):
        return from_array(value)
    if isinstance(value, bytes | bytearray | memoryview):
        if not len(value):
            raise BadRowError("the video is empty (0 bytes)")
        if bytes(value[:6]) == _NPY:
            return from_array(_read_npy(io.BytesIO(value)))
        return io.BytesIO(value)
    if isinstance(value, str | Path):
        if Path(value).is_dir():
            return frame_paths(Path(value))
        file = check_media_file(value, "video")
        return from_array(_read_npy(file)) if file.lower().endswith(".npy") else file
    if isinstance(value, Sequence):
        if not len(value):
            raise BadRowError("the list of frames is empty")
        return list(value)
    raise BadRowError(
        f"a value of type {type(value).__name__} is no video: give encoded bytes, a path, a folder of frames, or an array "
        "[T, H, W, 3]"
    )
