"""Encode media in memory (arrays, tensors, PIL images, recordings) as the bytes of a file."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.sources.media.kinds import kind_of_bytes, kind_of_path
from selfsup.errors import SourceError

Array = np.ndarray[Any, Any]
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation to the number of Pillow's ``Transpose`` that makes it upright."""
_COLORS = (1, 3, 4)


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor, or a tensor of another library."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def is_pil(value: Any) -> bool:
    """Whether a value is a PIL image; does not need Pillow."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def array_of(value: Any) -> Array | None:
    """A NumPy array or a tensor as an array; None for everything else."""
    if isinstance(value, np.ndarray):
        return value
    if is_tensor(value):
        array: Array = value.detach().cpu().numpy()
        return array
    return None


def is_medium(value: Any) -> bool:
    """Whether a value is an image, a recording or a video."""
    if isinstance(value, Mapping):
        return value.get("array") is not None or set(value) == {"bytes", "path"}
    array = array_of(value)
    return is_pil(value) or isinstance(value, bytes) or (array is not None and array.ndim > 0)


def kind_of_value(value: Any, *, rate: bool = False) -> str:
    """The medium of a value in memory: ``image``, ``audio`` or ``video``; empty for texts, paths, numbers and lists of them.

    Args:
        value: an array, a tensor, a PIL image, encoded bytes, ``{"bytes", "path"}`` or ``{"array", "sampling_rate"}``.
        rate: whether it comes with a sampling rate: an array with one or two axes is then a recording.
    """
    if isinstance(value, Mapping):
        if value.get("array") is not None:
            return "audio"
        if value and set(value) <= {"bytes", "path"}:
            return kind_of_path(str(value.get("path") or "")) or kind_of_bytes(bytes(value.get("bytes") or b"")[:16])
        return ""
    if is_pil(value):
        return "image"
    if isinstance(value, bytes | bytearray | memoryview):
        return kind_of_bytes(bytes(value[:16]))
    if isinstance(value, list | tuple) and value and all(is_pil(item) for item in value):
        return "video"
    array = array_of(value)
    if array is None or array.dtype.kind not in "uif":
        return ""
    if rate and array.ndim in (1, 2):
        return "audio"
    return {2: "image" if array.dtype == np.uint8 else "", 3: "image", 4: "video"}.get(array.ndim, "")


def media_file(value: Any, kind: str) -> dict[str, Any]:
    """One value of a media role as ``{"bytes", "path"}``; images and videos in memory become npy files, recordings wav files.

    Args:
        value: None, a path, encoded bytes, ``{"bytes", "path"}``, a PIL image, an array or tensor; of recordings
            ``{"array": [T], [T, C] or [C, T], "sampling_rate": Hz}``; of videos also a list of frames, arrays or PIL images.
        kind: ``image``, ``audio`` or ``video``.

    Raises:
        SourceError: it is of another form; the message says what to give.
    """
    if value is None:
        return {"bytes": None, "path": None}
    if isinstance(value, str | os.PathLike):
        return {"bytes": None, "path": os.fspath(Path(value).expanduser().absolute())}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": bytes(value), "path": None}
    if isinstance(value, Mapping):
        if value.get("array") is not None and kind == "audio":
            return {"bytes": wav_bytes(value["array"], value.get("sampling_rate")), "path": None}
        if {"bytes", "path"} & set(value):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        raise SourceError(f"A dict with {', '.join(map(repr, value)) or 'no key'} is no {kind}: {_wanted(kind)}.")
    if kind == "video" and isinstance(value, Sequence):
        return {"bytes": npy_bytes(_clip_of_frames(value)), "path": None}
    array = pixels_of(value) if is_pil(value) else array_of(value)
    if array is None or kind == "audio":
        kinds = {"image": "no image", "audio": "no recording", "video": "no video"}
        none = f"A value of type {type(value).__name__} is {kinds[kind]}"
        what = "An array alone has no sampling rate" if array is not None else none
        raise SourceError(f"{what}: {_wanted(kind)}.")
    return {"bytes": npy_bytes(_frames_first(array) if kind == "video" else array), "path": None}


def _wanted(kind: str) -> str:
    if kind == "audio":
        return 'a recording is a path, encoded bytes, or {"array": samples, "sampling_rate": Hz}'
    return f"a row's {kind} is a path, encoded bytes, an array or tensor" + (", or a PIL image" if kind == "image" else "")


def npy_bytes(array: Array) -> bytes:
    """An array as an npy file.

    Raises:
        SourceError: it holds Python objects.
    """
    stream = io.BytesIO()
    try:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    except ValueError as error:
        raise SourceError(
            f"An array of type {array.dtype} holds Python objects, not numbers: give arrays of numbers."
        ) from error
    return stream.getvalue()


def pixels_of(image: Any) -> Array:
    """A PIL image as an array, upright, without palette: transparency becomes a fourth channel."""
    image.load()
    orientation = 1 if image.format == "TIFF" else image.getexif().get(0x0112, 1)  # Pillow already turns a TIFF
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or (image.mode == "RGB" and "transparency" in image.info):
        clear = image.mode != "P" or "transparency" in image.info
        image = image.convert("RGBA" if clear else "RGB")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    array: Array = np.asarray(image)
    return array


def _clip_of_frames(frames: Sequence[Any]) -> Array:
    """Frames as one array [T, H, W] or [T, H, W, C]."""
    arrays = [pixels_of(frame) if is_pil(frame) else array_of(frame) for frame in frames]
    if not arrays or any(array is None for array in arrays):
        raise SourceError("The frames of a video are arrays or PIL images; give a folder of frames by its path.")
    shapes = {array.shape for array in arrays if array is not None}
    if len(shapes) > 1:
        raise SourceError(f"The frames of a video are of several shapes: {', '.join(map(str, sorted(shapes)[:3]))}.")
    return _frames_first(np.stack([array for array in arrays if array is not None]))


def _frames_first(array: Array) -> Array:
    """A clip [T, H, W, C], [T, C, H, W] or [C, T, H, W] with its channels last.

    Raises:
        SourceError: no axis, or more than one, can be the channels.
    """
    if array.ndim != 4 or array.shape[3] in _COLORS:
        return array
    places = [axis for axis in (0, 1) if array.shape[axis] in _COLORS]
    if len(places) != 1:
        raise SourceError(
            f"The channels of a clip of shape {array.shape} cannot be found: give [frames, height, width, 3], such "
            "as clip.transpose(0, 2, 3, 1)."
        )
    return np.moveaxis(array, places[0], 3)


def wav_bytes(samples: Any, rate: Any) -> bytes:
    """Samples as a wav file: 16 bits for int16, else 32-bit floats (Multimedia Programming Interface, 1991).

    Args:
        samples: [T], or channels along the shorter of two axes; int16, int32, or real numbers in -1..1.
        rate: in Hz.

    Raises:
        SourceError: the shape, type or rate is not that of a recording.
    """
    array = array_of(samples) if array_of(samples) is not None else np.asarray(samples)
    assert array is not None
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.number) or not 1 <= float(rate) < 2**31:
        raise SourceError(f"sampling_rate={rate!r} is no sampling rate in Hz.")
    if array.ndim not in (1, 2) or array.dtype.kind not in "if":
        raise SourceError(
            f"An array of shape {array.shape} and type {array.dtype} is no recording: [samples] or [channels, samples]."
        )
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:
        array = array.T
    if array.dtype == np.int16:
        code, width, data = 1, 2, array.astype("<i2")
    else:
        if array.dtype.kind == "i":
            array = array / float(2 ** (8 * array.dtype.itemsize - 1))
        code, width, data = 3, 4, array.astype("<f4")
    channels, hz = array.shape[1], round(float(rate))
    body = np.ascontiguousarray(data).tobytes()
    form = struct.pack("<HHIIHH", code, channels, hz, hz * channels * width, channels * width, 8 * width)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
