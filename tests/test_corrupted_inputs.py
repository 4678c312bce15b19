"""Damaged and hostile inputs of every kind: each is read, or refused by name; none crashes, hangs or takes much memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from corrupted.__main__ import shares, table
from corrupted.child import FAULT
from corrupted.damage import WAYS, WHOLE, damaged
from corrupted.hostile import HOSTILE, SLOW
from corrupted.saved_files import make_base
from corrupted.trials import KINDS, per_job, spoilt, whole
from corrupted.watch import CRASH, HANG, MEMORY, Figures, Watched, run

LONG, SHORT = 10_000, 120
"""Inputs."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    base = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_CACHE", str(base / "cache"))
        make_base(base)
        with Watched(base) as process:
            yield process


def try_all(watched: Watched, counts: Mapping[str, int], first: int = 0) -> dict[str, Figures]:
    found = {}
    for kind, count in counts.items():
        # Every kind begins with another way of damage, so that few inputs of each show all ways.
        start = first + 5 * len(found) if count < len(WAYS) else first
        found[kind] = run(watched, kind, range(start, start + count) if kind not in HOSTILE else [0], per_job(kind))
    return found


def check(found: Mapping[str, Figures]) -> None:
    faults = [fault for figures in found.values() for fault in figures.faults]
    assert not faults, "\n".join(faults[:20])


@pytest.mark.slow
def test_a_few_inputs_of_each_kind(watched: Watched) -> None:
    found = try_all(watched, shares(SHORT, (*KINDS, *(name for name in HOSTILE if name not in SLOW))))
    check(found)
    outcomes = sum((figures.counts for figures in found.values()), start=Figures().counts)
    assert outcomes.total() >= SHORT
    assert min(outcomes["read"], outcomes["refused"]) > SHORT / 10, "some damage is harmless, and most is not"


@pytest.mark.long
def test_ten_thousand_inputs(watched: Watched, record_property) -> None:
    found = try_all(watched, shares(LONG, (*KINDS, *HOSTILE)))
    for line in table(found).splitlines():
        record_property(line[:34].strip(), line[34:])
    check(found)


@pytest.mark.parametrize(
    ("expected", "fault"),
    [
        (CRASH, "import ctypes\nctypes.string_at(0)"),
        (HANG, "import time\ntime.sleep(60)"),
        (MEMORY, "answer(results=[], seconds=0.0, grown=1 << 31)"),
    ],
)
def test_the_watchdog_tells_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: str, fault: str) -> None:
    monkeypatch.setenv(FAULT, fault)
    with Watched(tmp_path, patience=2) as watched:
        figures = run(watched, "png 60000x60000", [0], 0)
    assert figures.counts == {expected: 1}, figures.faults
    assert figures.faults[0].startswith(f"png 60000x60000 [0]: {expected}")


def test_damage_is_the_same_for_the_same_seed() -> None:
    for seed in range(2 * len(WAYS)):
        assert spoilt("png", seed) == spoilt("png", seed)
        assert spoilt("png", seed) != whole("png")
    assert damaged(b"abc", WHOLE) == b"abc"
