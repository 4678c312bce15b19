"""Damaged files of every kind: none ends a run or keeps it waiting; each is a usable row or a bad one with its name."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from selfsup.data import load_source, prepare
from selfsup.errors import BadRowError
from selfsup.registry import registry

WAYS = 24
"""Corruptions of each file."""
SETTINGS = {
    "audio": {"sample_rate": 8000, "clip_seconds": 0.5},
    "video": {"image_size": 16, "frames": 8},
    "vision": {"image_size": 16},
}


def sound(format: str, subtype: str) -> bytes:
    """A noise of 0.6 s in two channels."""
    out = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, (9600, 2))
    soundfile.write(out, noise, 48000 if subtype == "OPUS" else 16000, format=format, subtype=subtype)
    return out.getvalue()


def film(format: str, codec: str, aspect: Fraction | None = None) -> bytes:
    """20 frames of a picture that moves."""
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    with av.open(out, "w", format=format) as container:
        stream = container.add_stream(codec, rate=25, options={"g": "6"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.thread_count = 1
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, number, 1), format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def picture(format: str, **options: object) -> bytes:
    """Noise of 40 x 30 pixels."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(out, format, **options)
    return out.getvalue()


KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
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
    "gif": ("video", lambda: film("gif", "gif")),
    "png": ("vision", lambda: picture("PNG")),
    "jpg": ("vision", lambda: picture("JPEG")),
    "tiff": ("vision", lambda: picture("TIFF", compression="tiff_lzw")),
    "webp": ("vision", lambda: picture("WEBP")),
    "bmp": ("vision", lambda: picture("BMP")),
}


def corrupted(content: bytes, way: int) -> bytes:
    """One of many ways in which a file is damaged: cut off, bytes changed, zeroed, taken out, repeated; headers above all."""
    draw, data = np.random.default_rng(way), bytearray(content)
    n = len(data)
    first, last = sorted(draw.integers(0, n, 2).tolist())
    head = int(draw.integers(min(n - 4, 300)))
    extreme = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f")[way // 8 % 4]
    match way % 8:
        case 0:
            del data[first:]
        case 1:
            for place in draw.integers(0, n, 8):
                data[place] = draw.integers(256)
        case 2:
            data[first : first + n // 4] = bytes(len(data[first : first + n // 4]))
        case 3:
            for place in draw.integers(0, min(n, 200), 4):
                data[place] = draw.integers(256)
        case 4:
            data[head : head + 4] = extreme
        case 5:
            del data[first:last]
        case 6:
            data[first:first] = data[first:last]
        case _:
            for place in draw.integers(0, n, n // 100):
                data[place] ^= 1 << int(draw.integers(8))
    return bytes(data)


@pytest.mark.filterwarnings("ignore")  # Pillow's warnings are errors in these tests, and are none to users
@pytest.mark.parametrize("suffix", KINDS)
def test_no_damaged_file_ends_a_run(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    name, make = KINDS[suffix]
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    folder, content = tmp_path / "files", make()
    folder.mkdir()
    (folder / f"whole.{suffix}").write_bytes(content)
    for way in range(WAYS):
        (folder / f"{way:03}.{suffix}").write_bytes(corrupted(content, way))
    rows = load_source(str(folder), modality=registry().get("modality", name))
    kind = registry().processor_class(name)
    kind().fit(rows)  # what is auto is chosen from what can be read
    processor = kind(kind.Config(**SETTINGS[name])).fit(rows)
    store = prepare(rows, processor, max_bad_rows=1, workers=2)
    assert len(store) + len(store.bad_rows) == WAYS + 1
    assert WAYS in store.kept, "the whole file is usable"
    assert all(reason.startswith(f"row {index} ({index:03}.{suffix}): ") for index, reason in store.bad_rows)
    # Decoders themselves name the damage; what they do not know of is caught further out, and rare.
    unforeseen = [reason for _, reason in store.bad_rows if "it cannot be processed" in reason]
    assert len(unforeseen) <= 2, unforeseen


def bomb() -> bytes:
    """A PNG whose header promises 4 billion pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 65000, 65000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def patched(content: bytes, old: bytes, new: bytes) -> bytes:
    """The content with each ``old`` replaced by ``new``."""
    assert old in content
    return content.replace(old, new)


def wide(content: bytes) -> bytes:
    """A video whose pixels are said to be four billion times as wide as high."""
    place = content.index(b"pasp") + 4
    return content[:place] + struct.pack(">II", 0xFFFFFFF, 1) + content[place + 8 :]


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("video", lambda: patched(film("mp4", "libx264"), b"avc1", b"zzzz"), "FFmpeg does not know the codec"),
        ("video", lambda: film("mp4", "libx264")[:200], "cannot be read"),
        ("video", lambda: wide(film("mp4", "mpeg4", Fraction(2, 1))), "which is not a picture"),
        ("vision", bomb, "pixels"),
        ("audio", lambda: patched(film("mp4", "libx264"), b"avc1", b"zzzz"), "not an audio file"),
    ],
    ids=["unknown coding", "cut header", "wide pixels", "bomb", "video as audio"],
)
def test_known_cases(name: str, make: Callable[[], bytes], reason: str) -> None:
    kind = registry().processor_class(name)
    role = {"vision": "image"}.get(name, name)
    with pytest.raises(BadRowError, match=reason):
        kind(kind.Config(**SETTINGS[name])).encode({role: {"bytes": make(), "path": None}})


@pytest.mark.parametrize(("name", "suffix"), [("audio", "wav"), ("video", "mp4"), ("vision", "png")])
def test_what_is_no_file_is_a_bad_row(tmp_path: Path, name: str, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "files"
    (folder / f"folder.{suffix}").mkdir(parents=True)
    whole = KINDS[suffix][1]()
    (folder / f"good.{suffix}").write_bytes(whole)
    (folder / f"empty.{suffix}").touch()
    (folder / f"text.{suffix}").write_text("this is no such file\n" * 50)
    (folder / f"link.{suffix}").symlink_to("gone")
    (folder / f"loop.{suffix}").symlink_to(f"loop.{suffix}")
    os.mkfifo(folder / f"pipe.{suffix}")
    (folder / f".hidden.{suffix}").write_bytes(whole)
    Path(os.fsdecode(os.fsencode(folder) + f"/caf\xe9.{suffix}".encode("latin-1"))).write_bytes(whole)
    rows = load_source(str(folder), modality=registry().get("modality", name))
    kind = registry().processor_class(name)
    store = prepare(rows, kind(kind.Config(**SETTINGS[name])), max_bad_rows=1)
    assert [rows.describe(index) for index in store.kept] == [rf"row 0 (caf\udce9.{suffix})", f"row 2 (good.{suffix})"]
    reasons = "\n".join(reason for _, reason in store.bad_rows)
    for name in ("empty", "text", "link", "loop", "pipe"):
        assert f"({name}.{suffix})" in reasons
    assert "folder" not in reasons
