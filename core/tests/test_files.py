"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from selfsup.errors import StorageError
from selfsup.runtime.files import atomic_write, give_folder_name, give_name, scratch_folder, storage_errors
from selfsup.runtime.temporary_files import (
    alive,
    is_temporary,
    remove_remains,
    temporary_file,
    temporary_folder,
    temporary_path,
)


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


def test_what_killed_processes_left_is_removed_and_files_in_progress_stay(tmp_path):
    path = tmp_path / "file"
    (left := temporary_path(path)).write_text("half")
    (left_folder := temporary_path(path)).mkdir()
    (other := temporary_path(tmp_path / "file.txt")).write_text("half")
    with temporary_file(path) as first:
        assert not left.exists()
        assert not left_folder.exists()
        assert not other.exists()
        first.write_text("whole")
        with temporary_folder(path):
            assert first.read_text() == "whole"
        give_name(first, path)
    (later := temporary_path(path)).write_text("half")
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(["file", later.name])
    remove_remains(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", [".my.thesis.notes.tmp", ".draft.v2.1.tmp", ".a.json.01234567.1.tmp"])
def test_hidden_files_of_the_user_are_not_temporary(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "chapter").write_text("text")
    assert not is_temporary(tmp_path / name)
    remove_remains(tmp_path, any_machine=True)
    assert (tmp_path / name / "chapter").exists()
    assert is_temporary(temporary_path(tmp_path / name))


def test_a_file_is_made_durable_where_only_an_open_file_for_writing_can_be(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def only_writable(descriptor):
        reads_only = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if reads_only and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(os, "fsync", only_writable)
    (temporary := temporary_path(tmp_path / "file")).write_text("whole")
    give_name(temporary, tmp_path / "file")
    (folder := temporary_path(tmp_path / "folder")).mkdir()
    (folder / "part").write_text("whole")
    give_folder_name(folder, tmp_path / "folder")
    assert (tmp_path / "folder" / "part").read_text() == "whole"


def test_a_folder_is_looked_through_once_for_any_number_of_files(tmp_path, monkeypatch):
    looks = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: looks.append(folder) or scandir(folder))
    for number in range(4):
        atomic_write(tmp_path / f"{number}.json", "{}")
    assert looks == [tmp_path]


def test_no_signal_is_sent_to_see_whether_a_process_of_windows_lives(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signal 0 is Ctrl-C there"))
    assert alive(os.getpid())


def test_what_was_left_on_another_machine_is_kept_unless_the_folder_is_ours(tmp_path, monkeypatch):
    monkeypatch.setattr("selfsup.runtime.temporary_files._machine", lambda: "01234567")
    (left := temporary_path(tmp_path / "file")).write_text("half")
    monkeypatch.undo()
    remove_remains(tmp_path)
    assert left.exists()
    remove_remains(tmp_path, any_machine=True)
    assert not left.exists()


def test_without_locks_only_what_a_dead_process_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("selfsup.runtime.temporary_files.CAN_LOCK", False)
    (own := temporary_path(tmp_path / "file")).write_text("half")
    (dead := own.with_name(own.name.replace(f".{os.getpid()}-", f".{2**22 + 1}-"))).write_text("half")
    atomic_write(tmp_path / "file", "whole")
    assert own.exists()
    assert not dead.exists()


def test_arrays_that_were_cut_short_are_taken_for_a_full_disk(tmp_path):
    with pytest.raises(StorageError, match="the disk is full"), storage_errors(tmp_path / "file"):
        raise OSError("98 requested and 49 written")  # NumPy does not give the system's reason


def test_a_full_disk_of_temporary_files_is_named(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    with pytest.raises(StorageError, match=f"Cannot write {tempfile.gettempdir()}: the disk is full.*TMPDIR"), scratch_folder():
        pass
