"""Files that are made to do harm: decompression bombs, sizes that no memory holds, paths that climb out, code in pickles."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import selfsup
from corrupted.media_files import film, picture, sound
from corrupted.saved_files import base_folder
from corrupted.table_files import cells, json_lines
from corrupted.trials import Result, judge, prepare
from selfsup.errors import BadRowError

_REFUSED, _ANY = "refused", ("refused", "read")
MARK = "executed-by-a-hostile-file"
"""Name of the file that exists if code in an input was run."""


def png(width: int, height: int, rows: int = 0, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header states a size; only ``rows`` rows of zeros follow."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    line = 1 + width * depth // 8 * {0: 1, 2: 3, 6: 4}[colour]
    body = zlib.compressobj(9)
    content = b"".join([*(body.compress(bytes(line)) for _ in range(rows)), body.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def wav_of_hours(hours: float, rate: int = 16000) -> bytes:
    """A WAV file whose header states a length; a second follows."""
    content = bytearray(sound("WAV", "PCM_16"))
    size = min(int(hours * 3600 * rate * 4), 0xFFFFFFFF)
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", min(size + 36, 0xFFFFFFFF))
    content[24:28] = struct.pack("<I", rate)
    return bytes(content)


def mp3_of_hours() -> bytes:
    """An MP3 file whose Xing header states 2^31 frames."""
    content = bytearray(sound("MP3", "MPEG_LAYER_III"))
    for mark in (b"Xing", b"Info"):
        place = content.find(mark)
        if place >= 0:
            content[place + 4 : place + 16] = struct.pack(">III", 7, 0x7FFFFFFF, 0x7FFFFFFF)
    return bytes(content)


def mp4_of_size(side: int) -> bytes:
    """An MP4 file whose headers state frames of this size."""
    content = bytearray(film("mp4", "mpeg4"))
    place = content.index(b"tkhd")
    content[place + 80 : place + 88] = struct.pack(">II", side << 16 & 0xFFFFFFFF, side << 16 & 0xFFFFFFFF)
    place = content.index(b"mp4v")
    content[place + 28 : place + 32] = struct.pack(">HH", side & 0xFFFF, side & 0xFFFF)
    return bytes(content)


def tar_of(*members: tuple[tarfile.TarInfo, bytes], real: bool = True) -> bytes:
    """An archive with these members, after a sample that is whole if ``real``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        whole = [(_info(f"{n:03}.png"), picture("PNG")) for n in range(3)] if real else []
        for info, content in (*whole, *members):
            info.size = info.size or len(content)
            tar.addfile(info, io.BytesIO(content) if info.isreg() and info.size == len(content) else None)
    return out.getvalue()


def _info(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def _huge_member(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """An archive whose last member states a size."""
    info = _info("zzz.png", size=size, type=kind)
    begun = tar_of().rstrip(b"\0")
    return begun + bytes(-len(begun) % 512) + info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)


def parquet_claiming(values: int) -> bytes:
    """A Parquet file of one row whose footer states this many values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"length": [1.5, 2.5] * 21 + [0.0]}), out, use_dictionary=False, write_statistics=False)
    content, count = out.getvalue(), bytes([0x16, 43 << 1])  # thrift: an i64 field, zigzag
    assert content.count(count) >= 2
    varint, number = b"", values << 1
    while number:
        varint += bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
        number >>= 7
    length = struct.unpack("<I", content[-8:-4])[0]
    footer = content[-8 - length : -8].replace(count, b"\x16" + varint)
    return content[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def _rows(name: str, make: Callable[[], bytes], modality: str, **options: Any) -> Callable[[Path], object]:
    """Prepare the rows of one file."""

    def run(folder: Path) -> object:
        file = folder / name
        file.write_bytes(make())
        return prepare(file, modality, **options).looked_at.close()

    return run


def _media(name: str, make: Callable[[], bytes], modality: str) -> Callable[[Path], object]:
    """Prepare a folder of two whole files and one of this content, which must be a bad row with its name."""
    suffix = name.rpartition(".")[2]
    good = {"vision": lambda: picture("PNG"), "audio": lambda: sound("WAV", "PCM_16"), "video": lambda: film("mp4", "mpeg4")}
    usual = {"vision": "png", "audio": "wav", "video": "mp4"}[modality]

    def run(folder: Path) -> object:
        files = folder / "files"
        files.mkdir()
        for number in range(2):
            (files / f"{number}.{usual}").write_bytes(good[modality]())
        (files / f"hostile.{suffix}").write_bytes(make())
        store = prepare(files, modality).looked_at
        reasons = "\n".join(reason for _, reason in store.bad_rows)
        store.close()
        if store.bad_rows:
            raise BadRowError(reasons)
        return None

    return run


def _encoder(file: str, content: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Load an encoder with one file replaced."""

    def run(folder: Path) -> object:
        import shutil

        shutil.copytree(base_folder() / "run", folder / "run")
        path = folder / "run" / file
        path.write_bytes(content(path.read_bytes()))
        if "checkpoint" in file:
            return selfsup.pretrain(out=folder / "run", resume=True, steps=6, progress=False)
        return selfsup.load(folder / "run").embed(["the sea"])

    return run


def _pickled(_: bytes) -> bytes:
    return pickle.dumps(_Bomb(os.path.abspath(MARK)))  # noqa: PTH100


def _pickled_checkpoint(_: bytes) -> bytes:
    out = io.BytesIO()
    torch.save({"format": 2, "identity": {}, "state": _Bomb(os.path.abspath(MARK))}, out)  # noqa: PTH100
    return out.getvalue()


def _objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([_Bomb(os.path.abspath(MARK))], dtype=object), allow_pickle=True)  # noqa: PTH100
    return out.getvalue()


def _npy_claiming(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


def _zip_of_zeros(name: str, size: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open(name, "w") as member:
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    return out.getvalue()


def _gzip_of(block: bytes, times: int) -> bytes:
    """Blocks one after the other, each packed by itself, which is one stream."""
    return gzip.compress(block, mtime=0) * times


def _table(rows: int = 24, **columns: Callable[[int], str]) -> bytes:
    lines = [",".join(columns), *(",".join(value(row) for value in columns.values()) for row in range(rows))]
    return ("\n".join(lines) + "\n").encode()


_DEEP = b"[" * 100_000 + b"]" * 100_000
_HUGE = 2**60
HOSTILE: dict[str, tuple[str | tuple[str, ...], Callable[[Path], object]]] = {
    "png 60000x60000": (_REFUSED, _media("x.png", lambda: png(60_000, 60_000), "vision")),
    "png 13000x13000 of zeros": (_ANY, _media("x.png", lambda: png(13_000, 13_000, 13_000), "vision")),
    "png of 16 bits, 5000x5000": (_ANY, _media("x.png", lambda: png(5_000, 5_000, 5_000, depth=16), "vision")),
    "npy image of 2^60": (_REFUSED, _media("x.npy", lambda: _npy_claiming("(1152921504606846976,)"), "vision")),
    "npy image of objects": (_REFUSED, _media("x.npy", _objects, "vision")),
    "wav of 10 hours": (_ANY, _media("x.wav", lambda: wav_of_hours(10), "audio")),
    "wav of 4 GHz": (_REFUSED, _media("x.wav", lambda: wav_of_hours(1, 4_000_000_000), "audio")),
    "wav of 49 MHz": (_ANY, _media("x.wav", lambda: wav_of_hours(1, 49_000_000), "audio")),
    "mp3 of 10 hours": (_ANY, _media("x.mp3", mp3_of_hours, "audio")),
    "mp4 of 100000x100000": (_ANY, _media("x.mp4", lambda: mp4_of_size(100_000), "video")),
    "mp4 of 65535x65535": (_ANY, _media("x.mp4", lambda: mp4_of_size(65_535), "video")),
    "npy video of 2^60": (_REFUSED, _media("x.npy", lambda: _npy_claiming("(1152921504606846976, 8, 8)"), "video")),
    "csv.gz of one line of 1.3 GB": (_REFUSED, _rows("x.csv.gz", lambda: _gzip_of(b"a" * (1 << 20), 1280), "tabular")),
    "csv.zip of 1.3 GB": (_REFUSED, _rows("x.csv.zip", lambda: _zip_of_zeros("rows.csv", 1280 << 20), "tabular")),
    "jsonl.gz of 1.3 GB": (_REFUSED, _rows("x.jsonl.gz", lambda: _gzip_of(b" " * (1 << 20), 1280), "text")),
    "csv of one line of 300 MB": (_REFUSED, _rows("x.csv", lambda: b"a,b\n" + b"x" * (300 << 20), "tabular")),
    "npz of 1.3 GB": (_REFUSED, _rows("x.npz", lambda: _zip_of_zeros("images.npy", 1280 << 20), "vision")),
    "npz of objects": (_REFUSED, _rows("x.npy", _objects, "vision")),
    "parquet of 2^40 values": (_REFUSED, _rows("x.parquet", lambda: parquet_claiming(2**40), "tabular")),
    "json nested 100000 deep": (_REFUSED, _rows("x.json", lambda: _DEEP, "text")),
    "jsonl nested 100000 deep": (_REFUSED, _rows("x.jsonl", lambda: json_lines() + b'{"text": ' + _DEEP + b"}\n", "text")),
    "csv of huge and infinite numbers": (
        _ANY,
        _rows("x.csv", lambda: _table(a=lambda n: ["1e308", "-1e308", "inf", "nan", "1e999"][n % 5], b=str), "tabular"),
    ),
    "csv with two columns of one name": (_ANY, _rows("x.csv", lambda: cells().replace(b"width", b"length", 1), "tabular")),
    "csv of 3000 columns": (_ANY, _rows("x.csv", lambda: _table(2, **{f"c{n}": str for n in range(3000)}), "tabular")),
    "tar with paths that climb out": (
        _ANY,
        _rows(
            "x.tar",
            lambda: tar_of((_info("../../climbed.png"), picture("PNG")), (_info("/climbed.png"), picture("PNG"))),
            "vision",
        ),
    ),
    "tar of links and devices": (
        _ANY,
        _rows(
            "x.tar",
            lambda: tar_of(
                (_info("a.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
                (_info("b.png", type=tarfile.LNKTYPE, linkname="../../etc/passwd"), b""),
                (_info("c.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
                (_info("d.png", type=tarfile.FIFOTYPE), b""),
            ),
            "vision",
        ),
    ),
    "tar member of 8 EB": (_REFUSED, _rows("x.tar", lambda: _huge_member(2**63 - 1), "vision")),
    "tar member of 8 GB": (_REFUSED, _rows("x.tar", lambda: _huge_member(2**33 - 1), "vision")),
    "tar name of 8 EB": (_REFUSED, _rows("x.tar", lambda: _huge_member(2**63 - 1, tarfile.GNUTYPE_LONGNAME), "vision")),
    "tar header of 4 GB": (_REFUSED, _rows("x.tar", lambda: _huge_member(2**32, tarfile.XHDTYPE), "vision")),
    "tar.gz of a member of 1.3 GB": (
        _REFUSED,
        _rows(
            "x.tar.gz", lambda: _gzip_of(_info("0.png", size=1280 << 20).tobuf(), 1) + _gzip_of(bytes(1 << 20), 1280), "vision"
        ),
    ),
    "tar names of terminal codes": (
        _ANY,
        _rows("x.tar", lambda: tar_of((_info("\x1b[2Ja\nb\u202e.png"), b"no image"), real=True), "vision"),
    ),
    "csv of paths to devices": (
        _REFUSED,
        _rows(
            "x.csv",
            lambda: b"image,label\n/dev/zero,a.png\n/dev/urandom,b\n../../../etc/passwd,c\n",
            "vision",
            columns={"image": "image"},
        ),
    ),
    "safetensors header of 2^60": (
        _REFUSED,
        _encoder("encoder/model.safetensors", lambda old: struct.pack("<Q", _HUGE) + old[8:]),
    ),
    "safetensors tensor of 2^60": (
        _REFUSED,
        _encoder(
            "encoder/model.safetensors",
            lambda old: (
                struct.pack("<Q", 90)
                + json.dumps({"x": {"dtype": "F32", "shape": [_HUGE], "data_offsets": [0, 4]}}).encode().ljust(90)
                + bytes(4)
            ),
        ),
    ),
    "pickle as safetensors": (_REFUSED, _encoder("encoder/model.safetensors", _pickled)),
    "pickle as checkpoint": (_REFUSED, _encoder("checkpoints/last.pt", _pickled)),
    "pickle in a checkpoint": (_REFUSED, _encoder("checkpoints/last.pt", _pickled_checkpoint)),
    "objects in pretraining_rows.npy": (_REFUSED, _encoder("encoder/pretraining_rows.npy", lambda _: _objects())),
    "config nested 100000 deep": (_REFUSED, _encoder("encoder/config.json", lambda _: _DEEP)),
    "run.json nested 100000 deep": (_REFUSED, _encoder("run.json", lambda _: _DEEP)),
    "tokenizer nested 100000 deep": (_REFUSED, _encoder("encoder/processor/tokenizer.json", lambda _: _DEEP)),
    "network of 40 GB": (
        _REFUSED,
        _encoder(
            "encoder/config.json",
            lambda old: old.replace(b'"hidden_size": 16', b'"hidden_size": 4096').replace(b'"layers": 1', b'"layers": 48'),
        ),
    ),
}
"""Name to what may become of the input, and what reads it, in an empty folder."""


SLOW = tuple(
    name for name in HOSTILE if any(part in name for part in ("GB", "of zeros", "16 bits", "300 MB", "columns", "60000x"))
)
"""Those whose content takes seconds to make or to read."""


def attempt_hostile(name: str, folder: Path) -> Result:
    """Read a hostile input; ``unclear`` also if it was read and must not be, or left something outside of its folder."""
    wanted, run = HOSTILE[name]
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    os.environ["SELFSUP_CACHE"] = str(inner / "cache")
    former = Path.cwd()
    os.chdir(inner)
    try:
        result = judge(name, 0, lambda: run(inner), "")
    finally:
        os.chdir(former)
    outside = [path.name for place in (folder, folder / "a") for path in place.iterdir() if path.name not in ("a", "b")]
    if outside or (inner / MARK).exists() or Path("/climbed.png").exists():
        return Result(name, 0, "unclear", f"it wrote {outside or MARK}")
    if result.outcome == "refused" and not any(part in result.text for part in ("x.", "hostile.", "/run")):
        return Result(name, 0, "unclear", f"names no file: {result.text}")
    if result.outcome != "unclear" and result.outcome not in wanted:
        return Result(name, 0, "unclear", f"{result.outcome}, and it should be {wanted}: {result.text}")
    return result
