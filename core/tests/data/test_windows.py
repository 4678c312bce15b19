"""Windows of samples that are longer than a batch shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsup.data import EpochSampler, Loader
from selfsup.data.batches.windows import read_windows, shown_lengths
from selfsup.data.store.format import Store
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import DataError
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig

LENGTHS = [5, 20, 8, 13, 30, 3, 9, 20]
SHOWN = 8


def processor(window: int = SHOWN, keep: float = 4.0) -> SequenceProcessor:
    return SequenceProcessor(SequenceProcessorConfig(max_length=window, keep=keep))


def written(folder: Path, lengths: list[int]) -> Store:
    """Sample i counts up from 100 i."""
    writer = StoreWriter(folder)
    for number, length in enumerate(lengths):
        writer.add(number, {"sequence": np.arange(length) + 100 * number})
    writer.finish(source_rows=len(lengths), bad_rows=[], fingerprint="f", processor="p")
    return Store(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return written(tmp_path, LENGTHS)


def epochs(loader: Loader, n: int) -> list[dict[int, list[int]]]:
    """By epoch and sample: the tokens that the batches show."""
    found: list[dict[int, list[int]]] = []
    for epoch in range(n):
        shown = {}
        for batch in loader.epoch(epoch):
            padding = batch.get("padding", torch.zeros_like(batch["sequence"], dtype=torch.bool))
            for sequence, away in zip(batch["sequence"], padding, strict=True):
                tokens = sequence[~away].tolist()
                shown[tokens[0] // 100] = tokens
        found.append(shown)
    return found


def test_each_epoch_shows_another_window_of_a_long_sample_and_all_of_a_short_one(store: Store) -> None:
    loader = Loader(store, processor(), EpochSampler(8, 4, seed=3), window_seed=3)
    shown = epochs(loader, 40)
    for number, length in enumerate(LENGTHS):
        starts = {each[number][0] - 100 * number for each in shown}
        for each in shown:
            assert each[number] == list(range(each[number][0], each[number][0] + min(length, SHOWN)))
        assert starts == {0} if length <= SHOWN else len(starts) > min(length - SHOWN, 12) / 2, number
        assert max(starts) <= max(length - SHOWN, 0)
    assert epochs(loader, 3) == shown[:3]
    assert epochs(Loader(store, processor(), EpochSampler(8, 4, seed=3), window_seed=4), 3) != shown[:3]


def test_windows_are_uniform(store: Store) -> None:
    starts = [int(read_windows(store, processor(), np.asarray([4]), (0, epoch))["sequence"][0, 0]) for epoch in range(2300)]
    counts = np.bincount(np.asarray(starts) - 400, minlength=23)
    assert len(counts) == 23
    assert ((counts - 100) ** 2 / 100).sum() < 48.3, "chi-squared of 22 degrees of freedom, at 0.1 %"


def test_the_window_of_a_sample_does_not_depend_on_its_process_or_batch(store: Store) -> None:
    whole = epochs(Loader(store, processor(), EpochSampler(8, 8, seed=1), window_seed=1), 3)
    parts: list[dict[int, list[int]]] = [{}, {}, {}]
    for rank in range(2):
        sampler = EpochSampler(8, 2, seed=1, rank=rank, world_size=2)
        for part, more in zip(parts, epochs(Loader(store, processor(), sampler, window_seed=1), 3), strict=True):
            part |= more
    assert parts == whole
    loader = Loader(store, processor(), EpochSampler(8, 2, seed=1), window_seed=1)
    rest = list(loader.epoch(2, start_batch=2))
    assert all(torch.equal(a["sequence"], b["sequence"]) for a, b in zip(rest, list(loader.epoch(2))[2:], strict=True))


def test_without_a_seed_there_is_one_window(store: Store) -> None:
    shown = epochs(Loader(store, processor(), EpochSampler(8, 4)), 2)
    assert shown[0] == shown[1]
    assert all(shown[0][number] == list(range(100 * number, 100 * number + min(n, SHOWN))) for number, n in enumerate(LENGTHS))
    uncut = processor().collate(store.read(np.arange(8)))
    cut = processor().collate(read_windows(store, processor(), np.arange(8)))
    assert uncut.keys() == cut.keys()
    assert all(torch.equal(uncut[key], cut[key]) for key in cut)


def test_only_the_window_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    preadv = os.preadv

    def counted(descriptor: int, buffers: Any, offset: int) -> int:
        read.append(count := preadv(descriptor, buffers, offset))
        return count

    monkeypatch.setattr(os, "preadv", counted)
    read_windows(store, processor(), np.asarray([1, 4, 7]), (0, 0))
    assert sum(read) == 3 * SHOWN * 8


def test_samples_of_one_long_shape_have_windows_too(tmp_path: Path) -> None:
    alike = written(tmp_path, [12] * 4)
    assert alike.lengths("sequence") is None
    read = read_windows(alike, processor(), np.arange(4), (0, 5))["sequence"]
    assert read.shape == (4, SHOWN)
    assert (read[:, 0] // 100).tolist() == [0, 1, 2, 3]
    assert len(set((read[:, 0] % 100).tolist())) > 1
    assert (read - read[:, :1] == torch.arange(SHOWN)).all()


def test_batches_are_sorted_by_what_they_show(store: Store) -> None:
    assert shown_lengths(store, processor()).tolist() == [min(length, SHOWN) for length in LENGTHS]
    assert shown_lengths(store, processor(3)) is None
    assert shown_lengths(store, processor(100)).tolist() == LENGTHS


def test_a_window_lies_in_its_sample(store: Store) -> None:
    with pytest.raises(DataError, match="beyond its sample"):
        store.read([0, 1], {"sequence": (np.asarray([0, 15]), np.asarray([5, 8]))})
