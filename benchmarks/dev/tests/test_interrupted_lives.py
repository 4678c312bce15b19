"""Commands that are killed, or whose disk is full, at many points of a life can be given again, and end as if undisturbed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from long_runs.attempts import Attempts, Ended
from long_runs.disk_faults import Fault, can_build
from long_runs.lives import BENCHMARK, BRIEF, DEVICES, SHARDED, STORED, STREAMED, TABLE, Life
from long_runs.small_disk import SmallDisk, can_mount

pytestmark = pytest.mark.skipif(not can_build(), reason="the faults need Linux and a C compiler")


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempts]:
    with Attempts(BRIEF, tmp_path_factory.mktemp("brief")) as attempts:
        yield attempts


def at_changes(attempts: Attempts, count: int, draw: random.Random) -> list[tuple[int, int]]:
    """Place of a command and number of one of its changes, drawn over the whole life."""
    every = [(place, number) for place, one in enumerate(attempts.undisturbed) for number in range(1, one.calls + 1)]
    return sorted(draw.sample(every, count))


def check(ended: Ended, fault: object) -> None:
    assert ended.differs == [], f"{fault}, at {ended.at}"
    assert ended.mapped == 0, "a file that is mapped to be written ends its process by SIGBUS on a full disk"


def check_message(ended: Ended, fault: object) -> None:
    for log in ended.logs:
        last = log.strip().splitlines()[-1]
        assert "Traceback" not in log, f"{fault}:\n{log}"
        assert "Cannot write" in last, f"{fault}:\n{log}"
        # A process of several has no place left for its error, so it prints it, and the run's points to it.
        where = log if "A process failed there, and its error is printed above" in last else last
        assert "the disk is full; free some space or choose another disk" in where, f"{fault}:\n{log}"


def kill(attempts: Attempts, count: int, seed: int, *, times: int = 2) -> Counter[str]:
    """Kill commands at ``count`` points; gives where, by the kind of file."""
    draw, places = random.Random(seed), Counter[str]()
    for place, number in at_changes(attempts, count, draw):
        # Then once more, while the remains of the first one are there.
        again = [Fault(kill_at=draw.randint(1, attempts.undisturbed[place].calls)) for _ in range(draw.randrange(times))]
        faults = [Fault(kill_at=number, whole=draw.random() < 0.5), *again]
        ended = attempts.interrupted(place, *faults)
        check(ended, faults)
        assert ended.at, "the first fault always comes"
        places.update(kind_of(path) for path in ended.at)
    return places


def fill(attempts: Attempts, count: int, seed: int) -> Counter[str]:
    """Let the disk be full from ``count`` points on; gives where it was noticed."""
    draw, places = random.Random(seed), Counter[str]()
    for place, number in at_changes(attempts, count, draw):
        fault = Fault(full_at=number, no_new=draw.random() < 0.5)
        ended = attempts.interrupted(place, fault)
        check(ended, fault)
        check_message(ended, fault)
        places.update([kind_of(path) for path in ended.at] or ["done without"])
    return places


def kind_of(path: str) -> str:
    """A file's place in the life without what differs between runs."""
    parts = Path(path.partition("/life/")[2]).parts[:3]
    return "/".join(part.split(".")[1] if part.startswith(".") else part for part in parts if len(part) < 32)


@pytest.mark.slow
def test_killed_commands_go_on_and_end_as_if_undisturbed(brief: Attempts) -> None:
    assert sum(kill(brief, 6, seed=1).values()) >= 6


@pytest.mark.slow
def test_commands_on_a_full_disk_say_so_and_go_on_when_there_is_room(brief: Attempts) -> None:
    places = fill(brief, 6, seed=2)
    assert places.total() - places["done without"] >= 3


Record = Callable[[str, object], None]


@pytest.mark.long
@pytest.mark.parametrize(
    ("life", "count"),
    [(STORED, 50), (TABLE, 35), (STREAMED, 25), (DEVICES, 10), (SHARDED, 8), (BENCHMARK, 12)],
    ids=lambda value: getattr(value, "name", None),
)
def test_kills_at_many_points(life: Life, count: int, tmp_path: Path, record_property: Record) -> None:
    with Attempts(life, tmp_path) as attempts:
        record_property("commands", [(one.calls, f"{one.seconds:.1f} s") for one in attempts.undisturbed])
        places = kill(attempts, count, seed=3)
        assert places.total() >= count
        record_property("kills", places.total())
        record_property("where", dict(places.most_common()))


@pytest.mark.long
@pytest.mark.parametrize("life", [STORED, STREAMED], ids=lambda life: life.name)
def test_kills_at_random_times(life: Life, tmp_path: Path, record_property: Record) -> None:
    draw, kills = random.Random(4), 0
    with Attempts(life, tmp_path) as attempts:
        for _ in range(20):
            place = draw.randrange(len(life.commands))
            fault = Fault(after_seconds=draw.uniform(0, 1.2 * attempts.undisturbed[place].seconds))
            ended = attempts.interrupted(place, fault)
            check(ended, fault)
            kills += len(ended.at)
    assert kills > 5
    record_property("kills", kills)


@pytest.mark.long
@pytest.mark.parametrize(
    ("life", "count"),
    [(STORED, 60), (TABLE, 40), (STREAMED, 20), (DEVICES, 6), (SHARDED, 6), (BENCHMARK, 6)],
    ids=lambda value: getattr(value, "name", None),
)
def test_disks_that_are_full_at_many_points(life: Life, count: int, tmp_path: Path, record_property: Record) -> None:
    with Attempts(life, tmp_path) as attempts:
        places = fill(attempts, count, seed=5)
        assert places.total() - places["done without"] >= count // 3
        record_property("full disks", places.total())
        record_property("where", dict(places.most_common()))


@pytest.mark.long
@pytest.mark.skipif(not can_mount(), reason="only root may mount a disk")
@pytest.mark.parametrize("life", [STORED, TABLE], ids=lambda life: life.name)
def test_small_disks(life: Life, tmp_path: Path, record_property: Record) -> None:
    """Without a shim: a real file system that is full, where every write of any library fails as it does."""
    draw, failed = random.Random(6), 0
    with SmallDisk(tmp_path / "disk") as disk, Attempts(life, tmp_path / "own", disk) as attempts:
        for _ in range(20):
            place = draw.randrange(len(life.commands))
            used = attempts.restore(place)
            fault = Fault(disk_bytes=used + int(draw.random() * attempts.undisturbed[place].growth))
            ended = attempts.interrupted(place, fault)
            check(ended, fault)
            check_message(ended, fault)
            failed += len(ended.logs)
    assert failed > 5
    record_property("disks that were too small", failed)
