import numpy as np
import pytest

from selfsup.data.batches.blocks import BlockStore
from selfsup.data.store.format import Store
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import DataError


def write(path, samples, *, compressed=False):
    path.mkdir()
    writer = StoreWriter(path, compressed=compressed)
    for row, sample in enumerate(samples):
        writer.add(2 * row, sample)
    writer.finish(source_rows=2 * len(samples), bad_rows=[], fingerprint="f", processor="p")
    return path


def ragged(lengths):
    start = 0
    for length in lengths:
        ids = np.arange(start, start + length, dtype=np.int32)
        yield {"ids": ids, "marks": np.stack([ids, ids], axis=1) % 7}
        start += length


@pytest.mark.parametrize("compressed", [False, True])
def test_blocks_are_the_stream_of_all_samples_cut_evenly(tmp_path, compressed):
    blocks = BlockStore(write(tmp_path / "s", list(ragged([3, 5, 1, 9, 4])), compressed=compressed), 4)
    assert len(blocks) == 22 // 4
    read = blocks.read([0, 3, 1])
    assert read["ids"].tolist() == [[0, 1, 2, 3], [12, 13, 14, 15], [4, 5, 6, 7]]
    assert (read["marks"] == (read["ids"] % 7).unsqueeze(-1)).all()
    assert blocks.lengths("ids") is None
    assert blocks.total_lengths() is None
    # Blocks begin in samples 0, 1, 2 (at its only step), 3 and 3, which are rows twice those numbers.
    assert blocks.kept.tolist() == [0, 2, 4, 6, 6]


def test_samples_of_one_length_are_joined_too(tmp_path):
    samples = [{"ids": np.arange(6) + 6 * row} for row in range(3)]
    blocks = BlockStore(write(tmp_path / "s", samples), 4)
    assert blocks.read(range(4))["ids"].flatten().tolist() == list(range(16))
    assert blocks.kept.tolist() == [0, 0, 2, 4]


def test_what_cannot_be_joined_is_refused(tmp_path):
    with pytest.raises(DataError, match="too few for one block of 99"):
        BlockStore(write(tmp_path / "a", list(ragged([3, 5]))), 99)
    with pytest.raises(DataError, match="single number"):
        BlockStore(write(tmp_path / "b", [{"x": np.float32(1)}, {"x": np.float32(2)}]), 2)
    unlike = [{"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.zeros(3), "b": np.zeros(2)}]
    with pytest.raises(DataError, match="differ in their steps"):
        BlockStore(write(tmp_path / "c", unlike), 2)


def test_total_lengths_add_up_what_differs(tmp_path):
    store = Store(write(tmp_path / "s", [{"a": np.zeros(n), "b": np.zeros(2 * n), "c": np.zeros(3)} for n in (1, 4)]))
    assert store.total_lengths().tolist() == [3, 12]
