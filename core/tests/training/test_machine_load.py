from __future__ import annotations

import pytest

from selfsup.runtime import machine_load
from selfsup.runtime.machine_load import LoadWatch, allowed_cores, describe_load


@pytest.mark.parametrize(
    ("load", "allowed", "threads", "used", "told"),
    [
        (2.0, 2, 2, 1.9, ""),  # the machine is ours
        (9.0, 2, 2, 1.9, ""),  # others wait, not this run
        (9.0, 2, 2, 0.7, "9 threads want to run on 2 cores, and this run gets 0.7 of the 2 that it computes with. Set OMP_NUM"),
        (9.0, 2, 1, 0.3, "gets 0.3 of the 1 that it computes with. Run fewer programs at a time."),
        (2.5, 2, 2, 0.7, ""),  # it waits for its data
        (
            1.0,
            2,
            8,
            1.9,
            "8 threads, and this process may use 2 of 2 cores: the threads wait for each other. Set OMP_NUM_THREADS=2.",
        ),
        (
            1.0,
            0.5,
            2,
            0.4,
            "2 threads, and this process may use 0.5 of 2 cores: the threads wait for each other. Set OMP_NUM_THREADS=1.",
        ),
    ],
)
def test_a_busy_machine_is_told_with_its_cure(load: float, allowed: float, threads: int, used: float, told: str) -> None:
    text = describe_load(load, 2, allowed, threads, used)
    assert told in text
    assert bool(text) is bool(told)


def test_the_watch_looks_after_a_while_and_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(machine_load, "system_load", lambda: 1000.0 * machine_load.os.cpu_count())
    monkeypatch.setattr(machine_load.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(machine_load.time, "process_time", lambda: 0.0)
    told: list[str] = []
    watch = LoadWatch(told.append)
    for clock[0], count in ((5.0, 0), (11.0, 1), (30.0, 1)):
        watch()
        assert len(told) == count


def test_the_quota_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load.Path, "read_text", lambda path: "50000 100000\n")
    assert allowed_cores() == 0.5
    monkeypatch.setattr(machine_load.Path, "read_text", lambda path: "max 100000\n")
    assert allowed_cores() >= 1
