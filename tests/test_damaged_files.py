"""Damaged files of every kind: none ends a run or keeps it waiting; each is a usable row or a bad one with its name."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from corrupted.damage import damaged
from corrupted.hostile_content import png
from corrupted.media_files import MEDIA, SETTINGS, film
from selfsup.data import load_source, prepare
from selfsup.errors import BadRowError
from selfsup.registry import registry

WAYS = 24
"""Corruptions of each file."""


@pytest.mark.filterwarnings("ignore")  # Pillow's warnings are errors in these tests, and are none to users
@pytest.mark.parametrize("kind_of_file", MEDIA)
def test_no_damaged_file_ends_a_run(tmp_path: Path, kind_of_file: str, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    name, make = MEDIA[kind_of_file]
    suffix = kind_of_file.rpartition(".")[2]
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    folder, content = tmp_path / "files", make()
    folder.mkdir()
    (folder / f"whole.{suffix}").write_bytes(content)
    for way in range(WAYS):
        (folder / f"{way:03}.{suffix}").write_bytes(damaged(content, way))
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
        ("vision", lambda: png(65000, 65000), "pixels"),
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
    whole = MEDIA[suffix][1]()
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
