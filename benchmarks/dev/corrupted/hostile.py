"""Files that are made to do harm: decompression bombs, sizes that no memory holds, paths that climb out, code in pickles."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import selfsup
from corrupted.hostile_content import (
    MARK,
    Executed,
    gzip_of,
    member_info,
    mp3_of_hours,
    mp4_of_size,
    npy_claiming,
    npy_of_objects,
    parquet_claiming,
    png,
    table_of,
    tar_claiming,
    tar_of,
    wav_of_hours,
    zip_of_zeros,
)
from corrupted.media_files import film, picture, sound
from corrupted.saved_files import base_folder
from corrupted.table_files import cells, json_lines
from corrupted.trials import Result, judge, prepare
from selfsup.errors import BadRowError

_REFUSED, _ANY = "refused", ("refused", "read")


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
    return pickle.dumps(Executed(os.path.abspath(MARK)))  # noqa: PTH100


def _pickled_checkpoint(_: bytes) -> bytes:
    out = io.BytesIO()
    torch.save({"format": 2, "identity": {}, "state": Executed(os.path.abspath(MARK))}, out)  # noqa: PTH100
    return out.getvalue()


_DEEP = b"[" * 100_000 + b"]" * 100_000
_HUGE = 2**60
HOSTILE: dict[str, tuple[str | tuple[str, ...], Callable[[Path], object]]] = {
    "png 60000x60000": (_REFUSED, _media("x.png", lambda: png(60_000, 60_000), "vision")),
    "png 13000x13000 of zeros": (_ANY, _media("x.png", lambda: png(13_000, 13_000, 13_000), "vision")),
    "png of 16 bits, 5000x5000": (_ANY, _media("x.png", lambda: png(5_000, 5_000, 5_000, depth=16), "vision")),
    "npy image of 2^60": (_REFUSED, _media("x.npy", lambda: npy_claiming("(1152921504606846976,)"), "vision")),
    "npy image of objects": (_REFUSED, _media("x.npy", npy_of_objects, "vision")),
    "wav of 10 hours": (_ANY, _media("x.wav", lambda: wav_of_hours(10), "audio")),
    "wav of 4 GHz": (_REFUSED, _media("x.wav", lambda: wav_of_hours(1, 4_000_000_000), "audio")),
    "wav of 49 MHz": (_ANY, _media("x.wav", lambda: wav_of_hours(1, 49_000_000), "audio")),
    "mp3 of 10 hours": (_ANY, _media("x.mp3", mp3_of_hours, "audio")),
    "mp4 of 100000x100000": (_ANY, _media("x.mp4", lambda: mp4_of_size(100_000), "video")),
    "mp4 of 65535x65535": (_ANY, _media("x.mp4", lambda: mp4_of_size(65_535), "video")),
    "npy video of 2^60": (_REFUSED, _media("x.npy", lambda: npy_claiming("(1152921504606846976, 8, 8)"), "video")),
    "csv.gz of one line of 1.3 GB": (_REFUSED, _rows("x.csv.gz", lambda: gzip_of(b"a" * (1 << 20), 1280), "tabular")),
    "csv.zip of 1.3 GB": (_REFUSED, _rows("x.csv.zip", lambda: zip_of_zeros("rows.csv", 1280 << 20), "tabular")),
    "jsonl.gz of 1.3 GB": (_REFUSED, _rows("x.jsonl.gz", lambda: gzip_of(b" " * (1 << 20), 1280), "text")),
    "csv of one line of 300 MB": (_REFUSED, _rows("x.csv", lambda: b"a,b\n" + b"x" * (300 << 20), "tabular")),
    "npz of 1.3 GB": (_REFUSED, _rows("x.npz", lambda: zip_of_zeros("images.npy", 1280 << 20), "vision")),
    "npz of objects": (_REFUSED, _rows("x.npy", npy_of_objects, "vision")),
    "parquet of 2^40 values": (_REFUSED, _rows("x.parquet", lambda: parquet_claiming(2**40), "tabular")),
    "json nested 100000 deep": (_REFUSED, _rows("x.json", lambda: _DEEP, "text")),
    "jsonl nested 100000 deep": (_REFUSED, _rows("x.jsonl", lambda: json_lines() + b'{"text": ' + _DEEP + b"}\n", "text")),
    "csv of huge and infinite numbers": (
        _ANY,
        _rows("x.csv", lambda: table_of(a=lambda n: ["1e308", "-1e308", "inf", "nan", "1e999"][n % 5], b=str), "tabular"),
    ),
    "csv with two columns of one name": (_ANY, _rows("x.csv", lambda: cells().replace(b"width", b"length", 1), "tabular")),
    "csv of 3000 columns": (_ANY, _rows("x.csv", lambda: table_of(2, **{f"c{n}": str for n in range(3000)}), "tabular")),
    "tar with paths that climb out": (
        _ANY,
        _rows(
            "x.tar",
            lambda: tar_of((member_info("../../climbed.png"), picture("PNG")), (member_info("/climbed.png"), picture("PNG"))),
            "vision",
        ),
    ),
    "tar of links and devices": (
        _ANY,
        _rows(
            "x.tar",
            lambda: tar_of(
                (member_info("a.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
                (member_info("b.png", type=tarfile.LNKTYPE, linkname="../../etc/passwd"), b""),
                (member_info("c.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
                (member_info("d.png", type=tarfile.FIFOTYPE), b""),
            ),
            "vision",
        ),
    ),
    "tar member of 8 EB": (_REFUSED, _rows("x.tar", lambda: tar_claiming(2**63 - 1), "vision")),
    "tar member of 8 GB": (_REFUSED, _rows("x.tar", lambda: tar_claiming(2**33 - 1), "vision")),
    "tar name of 8 EB": (_REFUSED, _rows("x.tar", lambda: tar_claiming(2**63 - 1, tarfile.GNUTYPE_LONGNAME), "vision")),
    "tar header of 4 GB": (_REFUSED, _rows("x.tar", lambda: tar_claiming(2**32, tarfile.XHDTYPE), "vision")),
    "tar.gz of a member of 1.3 GB": (
        _REFUSED,
        _rows(
            "x.tar.gz",
            lambda: gzip_of(member_info("0.png", size=1280 << 20).tobuf(), 1) + gzip_of(bytes(1 << 20), 1280),
            "vision",
        ),
    ),
    "tar names of terminal codes": (
        _ANY,
        _rows("x.tar", lambda: tar_of((member_info("\x1b[2Ja\nb\u202e.png"), b"no image"), real=True), "vision"),
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
    "objects in pretraining_rows.npy": (_REFUSED, _encoder("encoder/pretraining_rows.npy", lambda _: npy_of_objects())),
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
