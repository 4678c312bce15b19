"""Which rows each of several processes is given, where nobody says how many rows a shard has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from selfsup.data.batches.shuffle import ShuffledRows, Split
from selfsup.data.sources.streams.row_stream import RowStream


@dataclass
class NumberShard:
    """Rows that are numbers."""

    first: int
    length: int
    counted: bool

    @property
    def name(self) -> str:
        return f"from {self.first}"

    def count(self) -> int | None:
        return self.length if self.counted else None


@dataclass
class Numbers:
    """A stream of numbers, which notes what is read of it."""

    sizes: list[int]
    counted: tuple[bool, ...] = (False,)
    read_rows: int = 0
    shards: list[NumberShard] = field(init=False)

    def __post_init__(self) -> None:
        flags = self.counted * len(self.sizes)
        self.shards = [NumberShard(sum(self.sizes[:n]), size, flags[n]) for n, size in enumerate(self.sizes)]

    def read(self, shard: int, start: int = 0) -> Iterator[dict[str, int]]:
        about = self.shards[shard]
        for number in range(about.first + start, about.first + about.length):
            self.read_rows += 1
            yield {"id": number}


def given(stream: Numbers, split: Split, counts: dict[int, int], start: int = 0, buffer: int = 8, **known: Any) -> list[int]:
    rows = ShuffledRows(
        cast(RowStream, stream), split, seed=0, epoch=0, buffer=buffer, counts=counts, start=start, **known
    )  # fmt: skip
    return [row.row["id"] for row in rows]


@pytest.mark.parametrize(
    ("sizes", "share", "processes", "buffer"),
    [([20] * 20, 64, 4, 8), ([20] * 2, 64, 4, 8), ([7, 1, 30, 3] * 9, 50, 5, 16), ([100] * 30, 102, 8, 100)],
    ids=["many small shards", "fewer rows than a batch", "uneven", "many processes"],
)
@pytest.mark.parametrize("counted", [(False,), (True, False), (False, False, True)], ids=["unknown", "half", "third"])
def test_processes_together_are_given_each_row_once(
    sizes: list[int], share: int, processes: int, buffer: int, counted: tuple[bool, ...]
) -> None:
    """Also where all rows that a process passes over lie behind the first shard."""
    together, true = Counter[int](), dict(enumerate(sizes))
    for rank in range(processes):
        counts: dict[int, int] = {}
        together.update(given(Numbers(sizes, counted), Split(share, rank, processes), counts, buffer=buffer))
        assert counts.items() <= true.items()
    assert together == Counter(range(sum(sizes)))


@pytest.mark.parametrize("start", [1, 9, 40, 77, 99])
def test_goes_on_in_a_shard_of_unknown_length_as_if_it_had_not_stopped(start: int) -> None:
    sizes = [30, 50, 20]
    whole = given(Numbers(sizes), Split(10), {})
    assert given(Numbers(sizes), Split(10), {}, start) == whole[start:]
    least: dict[int, int] = {}
    rows = iter(ShuffledRows(cast(RowStream, stopped := Numbers(sizes)), Split(10), seed=0, epoch=0, buffer=8,
                             counts=(counts := {}), least=least))  # fmt: skip
    assert [next(rows).row["id"] for _ in range(start)] == whole[:start]
    assert given(resumed := Numbers(sizes), Split(10), counts, start, least=least) == whole[start:]
    # What was seen before is passed over by its number, and only what the buffer kept is read again.
    assert stopped.read_rows + resumed.read_rows < sum(sizes) + 45


def test_counted_shards_are_passed_over_unread() -> None:
    stream = Numbers([100] * 50, (True,))
    assert len(given(stream, Split(64, 3, 4), {}, start=64 * 18)) == 64  # its last batch
    assert 64 <= stream.read_rows < 400
