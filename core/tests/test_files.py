"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from selfsup.errors import StorageError
from selfsup.runtime.files import atomic_write, storage_errors


@pytest.mark.parametrize("content", ["grün", "grün".encode(), lambda file: file.write("grün".encode())])
def test_content_is_written_whole(tmp_path, content):
    path = atomic_write(tmp_path / "new" / "file.txt", content)
    assert path.read_text(encoding="utf-8") == "grün"
    assert [item.name for item in path.parent.iterdir()] == ["file.txt"]


def test_failure_leaves_the_old_content(tmp_path):
    path = atomic_write(tmp_path / "file", "old")

    def fail(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match=f"Cannot write {path}: the disk is full; free some space"):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_error_of_the_writer_is_its_own(tmp_path):
    def fail(_file):
        raise ValueError("a fault of the caller")

    with pytest.raises(ValueError, match="a fault of the caller"):
        atomic_write(tmp_path / "file", fail)
    assert list(tmp_path.iterdir()) == []


def test_old_content_stays_until_the_new_is_on_the_disk(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "file", "old")
    seen = []
    fsync = os.fsync

    def look(descriptor):
        seen.append(path.read_text())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    atomic_write(path, "new")
    assert seen == ["old", "new"], "first the file is made durable, then it is renamed, then the folder is made durable"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "permission is denied"), (errno.EIO, "Input/output error")],
)
def test_reasons(number, words):
    with (
        pytest.raises(StorageError, match=f"Cannot write here: .*{words}.*Ask for help"),
        storage_errors(Path("here"), hint="Ask for help."),
    ):
        raise OSError(number, os.strerror(number))
