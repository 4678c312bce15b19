"""The contract between data and training, with the store behind it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup.data import EpochSampler, Loader, Store
from selfsup.data.batches.source import StoreBatches
from selfsup.data.store.writer import StoreWriter
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig


def store_of(path: Path, n: int) -> Store:
    path.mkdir()
    writer = StoreWriter(path)
    for row in range(n):
        writer.add(row, {"sequence": np.full((4, 2), row, dtype=np.float32)})
    writer.finish(source_rows=n, bad_rows=[], fingerprint="f", processor="p")
    writer.close()
    return Store(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("store") / "s", 10)


def source_of(store: Store) -> StoreBatches:
    processor = SequenceProcessor(SequenceProcessorConfig())
    return StoreBatches(Loader(store, processor, EpochSampler(len(store), 3, seed=5)))


def test_goes_on_in_mid_epoch_from_its_state(store: Store) -> None:
    whole = source_of(store)
    wanted = [batch["sequence"] for _ in range(3) for batch in whole.batches()]
    assert (whole.steps_per_epoch, whole.epoch, len(wanted)) == (3, 2, 9)
    first = source_of(store)
    list(first.batches())
    iterator = first.batches()
    next(iterator)
    state = first.state_dict()
    iterator.close()
    second = source_of(store)
    second.load_state_dict([state])
    rest = [batch["sequence"] for _ in range(2) for batch in second.batches()]
    assert (second.epoch, len(rest)) == (2, 5)
    assert all(torch.equal(a, b) for a, b in zip(rest, wanted[4:], strict=True))
