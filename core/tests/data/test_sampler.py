"""The sampler: a function of (seed, epoch), the same data for one process as for several."""

from __future__ import annotations

import numpy as np
import pytest

from selfsup.data import EpochSampler
from selfsup.data.batches import sampler as samplers
from selfsup.data.batches.permutation import Permutation
from selfsup.data.batches.sampler import DividedSampler
from selfsup.data.batches.work_division import WorkDivision
from selfsup.errors import ConfigError, DataError


def flat(batches) -> list[int]:
    return np.concatenate(batches).tolist()


def test_order_follows_from_seed_and_epoch():
    sampler = EpochSampler(100, 10, seed=7)
    assert flat(sampler.batches(3)) == flat(EpochSampler(100, 10, seed=7).batches(3))
    assert flat(sampler.batches(3)) != flat(sampler.batches(4))
    assert flat(sampler.batches(3)) != flat(EpochSampler(100, 10, seed=8).batches(3))
    assert sorted(flat(sampler.batches(3))) == list(range(100))


def test_global_random_state_plays_no_part():
    np.random.seed(0)  # noqa: NPY002  # the legacy state is what is tested
    before = flat(EpochSampler(50, 5).batches(0))
    np.random.seed(1)  # noqa: NPY002  # the same
    assert flat(EpochSampler(50, 5).batches(0)) == before


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [4, 4]), (False, [4, 4, 2])])
def test_last_batch(drop_last, sizes):
    sampler = EpochSampler(10, 4, drop_last=drop_last)
    assert [len(batch) for batch in sampler.batches(0)] == sizes
    assert len(sampler) == len(sizes)


def test_order_without_shuffling():
    assert [batch.tolist() for batch in EpochSampler(5, 2, drop_last=False, shuffle=False).batches(9)] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_each_global_batch(world_size):
    one = EpochSampler(50, 4 * world_size, seed=1).batches(2)
    several = [EpochSampler(50, 4, seed=1, rank=rank, world_size=world_size).batches(2) for rank in range(world_size)]
    for number, batch in enumerate(one):
        assert np.concatenate([parts[number] for parts in several]).tolist() == batch.tolist()


def test_every_process_has_as_many_rows_in_a_last_batch():
    parts = [EpochSampler(7, 2, drop_last=False, rank=rank, world_size=3, seed=1).batches(0) for rank in range(3)]
    assert [[len(batch) for batch in part] for part in parts] == [[2, 1]] * 3
    assert set(np.concatenate([flat(part) for part in parts]).tolist()) == set(range(7))


def test_batch_larger_than_the_data():
    with pytest.raises(
        DataError, match=r"batch_size=64 is larger than the data, which has 24 rows\. Choose --batch-size 24 or"
    ):
        EpochSampler(24, 64)
    with pytest.raises(DataError, match=r"batch_size=16 on each of 2 processes is larger.*--batch-size 12"):
        EpochSampler(24, 16, world_size=2)
    with pytest.raises(DataError, match="which has 1 row\\."):
        EpochSampler(1, 2)
    assert [len(batch) for batch in EpochSampler(24, 64, drop_last=False).batches(0)] == [24]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n": 0, "batch_size": 1}, DataError, "no rows"),
        ({"n": 5, "batch_size": 0}, ConfigError, "batch_size=0"),
        ({"n": 5, "batch_size": 1, "seed": -1}, ConfigError, "seed=-1"),
        ({"n": 5, "batch_size": 1, "rank": 2, "world_size": 2}, ConfigError, "rank=2"),
    ],
)
def test_numbers_out_of_range(options, error, words):
    with pytest.raises(error, match=words):
        EpochSampler(**options)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 1000, 4097])
def test_a_computed_order_holds_every_number_once(n):
    order = Permutation(n, (1, 2))
    numbers = order(np.arange(n))
    assert sorted(numbers.tolist()) == list(range(n))
    assert numbers[n // 2 :].tolist() == order(np.arange(n // 2, n)).tolist(), "a part needs nothing before it"
    if n >= 64:
        assert numbers.tolist() != Permutation(n, (1, 3))(np.arange(n)).tolist()
        # In a random order the correlation with the places is about 1 / sqrt(n), and about one number keeps its place.
        assert abs(np.corrcoef(numbers, np.arange(n))[0, 1]) < 4 / n**0.5
        assert (numbers == np.arange(n)).sum() < 8
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 4 / n**0.5


@pytest.mark.parametrize(
    ("n", "drop_last", "lengths"), [(103, True, False), (103, False, False), (205, True, True), (205, False, True)]
)
def test_very_many_samples_are_divided_as_few_are(monkeypatch, n, drop_last, lengths):
    sizes = np.random.default_rng(0).integers(1, 50, n) if lengths else None

    def parts() -> list:
        return [
            EpochSampler(n, 4, seed=5, drop_last=drop_last, rank=rank, world_size=3, lengths=sizes).batches(2)
            for rank in range(3)
        ]

    few = parts()
    monkeypatch.setattr(samplers, "MOST_IN_MEMORY", 10)
    many = parts()
    assert [[len(batch) for batch in part] for part in many] == [[len(batch) for batch in part] for part in few]
    rows = np.concatenate([flat(part) for part in many])
    whole = n // 12 * 12
    if drop_last:
        assert len(np.unique(rows)) == len(rows) == whole
    else:
        assert set(rows.tolist()) == set(range(n))
    later = EpochSampler(n, 4, seed=5, drop_last=drop_last, rank=1, world_size=3, lengths=sizes).batches(2)[5:]
    assert flat(later) == flat(list(many[1])[5:]), "a run goes on in the middle of an epoch"
    if sizes is not None:
        spread = [np.ptp(sizes[np.concatenate([part[number] for part in many])]) for number in range(whole // 12)]
        assert np.mean(spread) < 10, "samples of like length come together"


def test_the_order_of_a_billion_samples_takes_no_memory():
    import tracemalloc

    tracemalloc.start()
    batches = EpochSampler(1_000_000_000, 512, rank=1, world_size=8).batches(3)
    rows = np.concatenate([batches[number] for number in (0, 100_000, len(batches) - 1)])
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert len(batches) == 1_000_000_000 // 4096
    assert len(np.unique(rows)) == 3 * 512
    assert rows.max() > 900_000_000 > 100_000_000 > rows.min()


def test_the_batches_of_a_billion_samples_are_divided_over_processes_in_no_memory(monkeypatch):
    import tracemalloc

    monkeypatch.setattr("selfsup.data.batches.work_division.rank", lambda: 1)
    division = WorkDivision()
    division._processes = 4
    sampler = EpochSampler(1_000_000_000, 512, drop_last=False, shuffle=False)
    tracemalloc.start()
    divided = DividedSampler(sampler, division)
    batches = divided.batches(0)
    second = batches[1]
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert len(divided) == len(batches) == len(range(1, len(sampler), 4))
    assert second.tolist() == sampler.batches(0)[5].tolist()
