"""One writer at a time: who holds a lock is told, and a dead holder holds nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selfsup.errors import InUseError
from selfsup.runtime import file_lock
from selfsup.runtime.file_lock import FileLock, check_not_in_use, holder_of, lock_folder, lock_of, waiting_lock

HOLD = """
import sys, time
from selfsup.runtime.file_lock import lock_folder
with lock_folder(sys.argv[1], "holding"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds the lock of ``run``."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_told_who_the_first_is(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    for refused in (lock_folder, lambda folder, _: check_not_in_use(folder)):
        with pytest.raises(
            InUseError, match=rf"run is in use by process {holder.pid} on {socket.gethostname()} \(holding, since"
        ):
            refused(tmp_path / "run", "writing")
    assert not (tmp_path / "run").exists()


def test_a_killed_holder_holds_nothing_and_the_next_one_begins_at_once(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock_of(tmp_path / "run").exists()
    check_not_in_use(tmp_path / "run")
    began = time.monotonic()
    with lock_folder(tmp_path / "run", "writing"):
        assert holder_of(lock_of(tmp_path / "run")) is not None
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


def test_a_lock_leaves_neither_its_file_nor_folders_that_nothing_is_in(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b" / "run", "writing"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "kept"]


def test_a_thread_of_the_same_process_is_another_writer(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def write() -> None:
        try:
            lock_folder(tmp_path / "run", "writing")
        except InUseError as error:
            errors.append(error)

    with lock_folder(tmp_path / "run", "writing"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(errors) == 1


def _left_by(path: Path, *, seconds_ago: float, **values: object) -> None:
    path.write_text(
        json.dumps({"pid": 1, "host": "elsewhere", "since": "2026-01-01T00:00:00", "what": "pretraining", **values})
    )
    os.utime(path, (time.time() - seconds_ago,) * 2)


def test_a_holder_on_another_machine_holds_while_it_is_heard_of(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "run")
    _left_by(lock, seconds_ago=2, boot="another kernel")
    with pytest.raises(InUseError, match=f"process 1 on elsewhere .* wait 60 seconds, or delete {lock}"):
        lock_folder(tmp_path / "run", "writing")
    _left_by(lock, seconds_ago=61, boot="another kernel")
    lock_folder(tmp_path / "run", "writing").release()


def test_a_container_of_this_machine_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    if not file_lock._boot_id():
        pytest.skip("this kernel has no id")
    lock = lock_of(tmp_path / "run")
    _left_by(lock, seconds_ago=2, boot=file_lock._boot_id())
    with lock_folder(tmp_path / "run", "writing"):
        assert str(os.getpid()) in lock.read_text()


@pytest.mark.parametrize(("pid", "free"), [(os.getpid(), False), (2**22 + 1, True)], ids=["living", "dead"])
def test_where_files_cannot_be_locked_the_process_and_its_heartbeat_decide(
    pid: int, free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "CAN_LOCK", False)
    _left_by(lock_of(tmp_path / "run"), seconds_ago=2, pid=pid, host=socket.gethostname(), boot=file_lock._boot_id())
    if free:
        lock_folder(tmp_path / "run", "writing").release()
    else:
        with pytest.raises(InUseError):
            lock_folder(tmp_path / "run", "writing")


def test_a_holder_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lock, "HEARTBEAT_SECONDS", 0.01)
    with FileLock(tmp_path / "lock", "writing"):
        os.utime(tmp_path / "lock", (0, 0))
        deadline = time.monotonic() + 5
        while (tmp_path / "lock").stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the heartbeat is a thread
def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    lock = lock_folder(tmp_path / "run", "writing")
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)  # lives on until the parent says so
        os._exit(0)
    lock.release()
    try:
        with lock_folder(tmp_path / "run", "writing"):
            assert str(os.getpid()) in lock_of(tmp_path / "run").read_text()
    finally:
        os.close(reader)
        os.close(writer)
        os.waitpid(child, 0)


def test_those_who_wait_get_it_one_after_the_other(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        with waiting_lock(tmp_path / "lock"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
