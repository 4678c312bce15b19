"""The loader: the right batches, errors that come through, threads that end."""

from __future__ import annotations

import gc
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup.config import Config
from selfsup.data import EpochSampler, Loader, Processor
from selfsup.data.store.format import Store
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import DataError


class Plain(Processor):
    """Joins samples as they are."""

    modality = "numbers"

    def fit(self, rows):
        return self

    def info(self):
        return {}

    def encode(self, row):
        return {"x": np.asarray(row["x"])}

    def save(self, directory):
        (directory / "plain.json").write_text(json.dumps({}))

    @classmethod
    def load(cls, directory):
        return cls(Config())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Sample i is [i], repeated i % 3 + 1 times under ``ragged``."""
    writer = StoreWriter(tmp_path)
    for i in range(20):
        writer.add(i, {"x": np.asarray([i]), "ragged": np.full(i % 3 + 1, i)})
    writer.finish(source_rows=20, bad_rows=[], fingerprint="f", processor="p")
    return Store(tmp_path)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "selfsup-prefetch"]


def wait_for_no_threads() -> None:
    end = time.monotonic() + 10
    while threads() and time.monotonic() < end:
        time.sleep(0.01)
    assert not threads()


def test_batches_are_the_samplers(store):
    sampler = EpochSampler(20, 6, seed=3, drop_last=False)
    batches = list(Loader(store, Plain(Config()), sampler).epoch(2))
    assert [batch["x"].flatten().tolist() for batch in batches] == [indices.tolist() for indices in sampler.batches(2)]
    assert set(batches[0]) == {"x", "ragged", "padding"}, "no label unless it is given"
    assert (batches[0]["padding"].sum(1) + batches[0]["x"].flatten() % 3 == batches[0]["padding"].shape[1] - 1).all()
    wait_for_no_threads()


def test_epoch_goes_on_where_it_was_left(store):
    loader = Loader(store, Plain(Config()), EpochSampler(20, 4))
    whole = [batch["x"].tolist() for batch in loader.epoch(1)]
    assert [batch["x"].tolist() for batch in loader.epoch(1, start_batch=3)] == whole[3:]
    assert list(loader.epoch(1, start_batch=5)) == []
    assert len(loader) == 5


def test_labels_belong_to_their_samples(store):
    labels = np.arange(20) * 7
    for batch in Loader(store, Plain(Config()), EpochSampler(20, 5), labels=labels).epoch(0):
        assert batch["label"].dtype == torch.long
        assert (batch["label"] == batch["x"].flatten() * 7).all()
    with pytest.raises(DataError, match="3 labels for 20 samples"):
        Loader(store, Plain(Config()), EpochSampler(20, 5), labels=labels[:3])


def test_error_in_the_thread_is_raised_by_the_iterator(store):
    class Broken(Plain):
        def collate(self, samples):
            if 13 in samples["x"]:
                raise ValueError("a fault of the processor")
            return super().collate(samples)

    iterator = Loader(store, Broken(Config()), EpochSampler(20, 5, shuffle=False)).epoch(0)
    assert next(iterator)["x"].flatten().tolist() == [0, 1, 2, 3, 4]
    next(iterator)
    with pytest.raises(ValueError, match="a fault of the processor"):
        next(iterator)
    wait_for_no_threads()


@pytest.mark.parametrize("how", ["close", "drop"])
def test_thread_ends_when_the_iterator_is_left(store, how):
    iterator = Loader(store, Plain(Config()), EpochSampler(20, 1)).epoch(0)
    next(iterator)
    assert len(threads()) == 1
    if how == "close":
        iterator.close()
    del iterator
    gc.collect()
    wait_for_no_threads()


def test_no_more_than_a_few_batches_lie_ready(store):
    made = []

    class Counting(Plain):
        def collate(self, samples):
            made.append(1)
            return super().collate(samples)

    iterator = Loader(store, Counting(Config()), EpochSampler(20, 1), prefetch=2).epoch(0)
    next(iterator)
    time.sleep(0.2)
    assert len(made) <= 4  # one taken, two ready, one in the making
    iterator.close()


def test_batches_go_to_the_device(store):
    batch = next(Loader(store, Plain(Config()), EpochSampler(20, 5), device="meta").epoch(0))
    assert {value.device.type for value in batch.values()} == {"meta"}


def test_batches_reach_a_gpu_unchanged(store):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    sampler = EpochSampler(20, 5)
    for indices, batch in zip(sampler.batches(0), Loader(store, Plain(Config()), sampler, "cuda").epoch(0), strict=True):
        assert batch["x"].is_cuda
        assert batch["x"].flatten().tolist() == indices.tolist()


class OnDevice(Plain):
    """Its samples may lie on a device as a whole."""

    collates_on_device = True


def test_a_small_store_lies_on_the_device_and_gives_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(tmp_path)
    for i in range(20):
        writer.add(i, {"x": np.asarray([i, 2 * i])})
    writer.finish(source_rows=20, bad_rows=[], fingerprint="f", processor="p")
    store, labels = Store(tmp_path), np.arange(20) % 3
    sampler = EpochSampler(20, 6, seed=3)
    read = list(Loader(store, Plain(Config()), sampler, labels=labels, window_seed=0).epoch(1))
    small = Loader(store, OnDevice(Config()), sampler, labels=labels, window_seed=0, device_bytes=20 * 16)
    large = Loader(store, OnDevice(Config()), sampler, labels=labels, window_seed=0, device_bytes=20 * 16 - 1)
    for loader, on_device in ((small, True), (large, False)):
        for place in (None, on_device):  # a first epoch reads only what it gives
            for own, other in zip(loader.epoch(1), read, strict=True):
                assert own.keys() == other.keys()
                assert all(torch.equal(own[key], other[key]) for key in own)
            assert (loader._on_device is None) is (place is None)
        assert bool(loader._on_device) is on_device
    monkeypatch.setattr(store, "read", lambda *_: pytest.fail("a store on the device is not read again"))
    assert len(list(small.epoch(2))) == 3


def test_several_threads_give_the_same_batches(store):
    sampler = EpochSampler(20, 6, seed=3)
    loader = Loader(store, Plain(Config()), sampler)
    read = [batch["x"].tolist() for batch in loader.epoch(1)]
    loader._threads = 3
    assert [batch["x"].tolist() for batch in loader.epoch(1)] == read


@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_threads_make_no_more_batches_than_may_lie_ready(store, prefetch):
    made = []

    class Counting(Plain):
        def collate(self, samples):
            made.append(1)
            return super().collate(samples)

    loader = Loader(store, Counting(Config()), EpochSampler(20, 1), prefetch=prefetch)
    loader._threads = 3
    iterator = loader.epoch(0)
    for taken in (1, 2):
        next(iterator)
        give_up = time.monotonic() + 30
        while len(made) < taken + prefetch and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(0.05)  # for one too many
        assert len(made) == taken + prefetch
    iterator.close()
