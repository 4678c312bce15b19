"""Stores: what was processed comes back, and what is damaged is not read."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup.data.store.format import Store
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import DataError, StorageError


def write(path: Path, samples: list, *, compressed: bool = False) -> Store:
    path.mkdir()
    writer = StoreWriter(path, compressed=compressed)
    for row, sample in enumerate(samples):
        writer.add(row, sample)
    writer.finish(source_rows=len(samples), bad_rows=[], fingerprint="f", processor="p")
    return Store(path)


@pytest.fixture
def samples():
    generator = np.random.default_rng(0)
    return [
        {
            "image": generator.integers(0, 255, (3, 4, 5), dtype=np.uint8),
            "tokens": generator.integers(0, 99, (length, 2)).astype(np.int64),
            "flag": np.asarray(length > 3),
            "weight": np.asarray(length, dtype=np.float32),
        }
        for length in (3, 1, 0, 7, 3, 2)
    ]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 4, 5], [5, 0, 0, 3], [4, 5, 1, 2], [2], []])
def test_samples_come_back_in_the_order_asked_for(tmp_path, monkeypatch, samples, indices, compressed):
    monkeypatch.setattr("selfsup.data.store.compression._LEAST_BYTES", 100)  # an image is 60 bytes, a step of tokens 16
    store = write(tmp_path / "store", samples, compressed=compressed)
    read = store.read(indices)
    assert set(read) == {"image", "tokens", "flag", "weight"}
    assert read["image"].shape == (len(indices), 3, 4, 5)
    assert read["image"].dtype == torch.uint8
    assert read["flag"].dtype == torch.bool
    for place, index in enumerate(indices):
        for key, value in samples[index].items():
            assert np.array_equal(read[key][place].numpy(), value), (key, index)
    assert len(read["tokens"]) == len(indices)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int16", "int64", "float16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("most", [1 << 20, 200])
def test_compressed_values_of_every_type_are_the_same_to_the_last_bit(tmp_path, monkeypatch, dtype, most):
    """Also where a sample is larger than a block, and of windows of it."""
    monkeypatch.setattr("selfsup.data.store.compression._MOST_BYTES", most)
    values = (np.random.default_rng(0).normal(size=(5, 7, 3, 4)) * 100).astype(dtype)
    if values.dtype.kind == "f":
        values[0, 0, 0] = np.nan, np.inf, -0.0, 1e-7
    samples = [{"x": value, "odd": value[:length]} for value, length in zip(values, (7, 2, 0, 5, 1), strict=True)]
    raw, packed = write(tmp_path / "raw", samples), write(tmp_path / "packed", samples, compressed=True)
    for windows in (None, {"x": (np.array([2, 0, 6]), np.array([3, 7, 1]))}):
        one, other = raw.read([4, 0, 3], windows), packed.read([4, 0, 3], windows)
        for key in ("x", "odd"):
            for mine, theirs in zip(one[key], other[key], strict=True):
                assert mine.numpy().tobytes() == theirs.numpy().tobytes()
                assert mine.dtype == theirs.dtype


def test_photos_are_compressed_by_the_differences_of_neighbours(tmp_path):
    row, column = np.mgrid[:32, :32]
    photo = (128 + 60 * np.sin(row / 9) + 50 * np.cos(column / 7)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 4, (6, 3, 32, 32), dtype=np.uint8)
    store = write(tmp_path / "packed", [{"image": photo + each} for each in noise], compressed=True)
    assert store.fields["image"].differences
    assert store.nbytes < 0.5 * noise.nbytes


def test_damaged_block_is_found_when_it_is_read(tmp_path, samples):
    path = write(tmp_path / "store", samples, compressed=True).path / "0.values"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(StorageError, match=r"0\.values is damaged.*made again"):
        Store(path.parent).read([1])


def test_one_flipped_bit_of_a_block_or_a_wrong_place_of_one_is_found(tmp_path, samples):
    folder = write(tmp_path / "store", samples, compressed=True).path
    values, starts = folder / "0.values", folder / "0.values.blocks"
    for place in range(values.stat().st_size):
        content = values.read_bytes()
        values.write_bytes(bytes([*content[:place], content[place] ^ 1, *content[place + 1 :]]))
        with pytest.raises(StorageError, match=r"0\.values is damaged.*Delete .*store; it will be made again"):
            Store(folder).read([1])
        values.write_bytes(content)
    for wrong in (-1, 1, 1 << 62):
        places = np.fromfile(starts, dtype=np.int64)
        np.concatenate([[wrong], places[1:]]).tofile(starts)
        with pytest.raises(StorageError, match=r"0\.values is damaged.*made again"):
            Store(folder).read([1])
        places.tofile(starts)
    assert np.array_equal(Store(folder).read([1])["image"][0].numpy(), samples[1]["image"])


def test_falling_waves_whose_last_block_is_short_are_read_without_a_warning(tmp_path):
    """The differences wrap around as unsigned integers; NumPy warns of that only for single numbers."""
    waves = [{"wave": np.arange(length, 0, -1).astype(np.int16)} for length in (16000, 16000, 16010)]
    read = write(tmp_path / "store", waves, compressed=True).read([2, 0])["wave"]
    assert all(np.array_equal(wave.numpy(), waves[row]["wave"]) for wave, row in zip(read, (2, 0), strict=True))


def test_lengths_and_sizes(tmp_path, samples):
    store = write(tmp_path / "store", samples)
    assert store.lengths("tokens").tolist() == [3, 1, 0, 7, 3, 2]
    assert store.lengths("image") is None
    assert len(store) == 6
    assert store.kept.tolist() == list(range(6))
    assert store.nbytes == 6 * 60 + 16 * 16 + 6 + 24


def test_wrong_numbers_are_refused(tmp_path, samples):
    store = write(tmp_path / "store", samples)
    for wrong in ([6], [-1]):
        with pytest.raises(DataError, match="of a store of 6"):
            store.read(wrong)


@pytest.mark.parametrize("change", ["shorter", "longer", "missing"])
@pytest.mark.parametrize("file", ["0.values", "1.values.starts", "kept.int64"])
def test_damaged_file_is_found_when_it_is_opened(tmp_path, samples, file, change):
    write(tmp_path / "store", samples)
    path = tmp_path / "store" / file
    if change == "missing":
        path.unlink()
    else:
        size = path.stat().st_size + (1 if change == "longer" else -1)
        os.truncate(path, size)
    with pytest.raises(StorageError, match=f"The store is damaged: .*{file}"):
        Store(tmp_path / "store")


def test_file_that_shrinks_while_open(tmp_path, samples):
    store = write(tmp_path / "store", samples)
    os.truncate(tmp_path / "store" / "0.values", 70)
    with pytest.raises(StorageError, match="ends too early"):
        store.read([0, 1])


def test_later_version_and_other_folders(tmp_path, samples):
    write(tmp_path / "store", samples)
    header = json.loads((tmp_path / "store" / "header.json").read_text())
    (tmp_path / "store" / "header.json").write_text(json.dumps({**header, "version": 99}))
    with pytest.raises(StorageError, match=r"later selfsup \(store format 99; this one reads up to 2\)"):
        Store(tmp_path / "store")
    (tmp_path / "store" / "header.json").write_text("{}")
    with pytest.raises(StorageError, match="is not a store"):
        Store(tmp_path / "store")
    with pytest.raises(StorageError, match=r"is not a store: it has no header\.json"):
        Store(tmp_path)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"y": np.zeros(2)}, r"keys \['y'\] for row 1"),
        ({"x": np.zeros((2, 3), np.float32)}, "float32"),
        ({"x": np.zeros((2, 4))}, "Only the first dimension may differ"),
    ],
)
def test_samples_that_do_not_fit_together(tmp_path, second, words):
    writer = StoreWriter(tmp_path)
    writer.add(0, {"x": np.zeros((2, 3))})
    with pytest.raises(DataError, match=words):
        writer.add(1, second)
    writer.close()


def test_files_are_closed_with_the_store(tmp_path, samples):
    store = write(tmp_path / "store", samples)
    (descriptor, *_) = store._files.values()
    os.fstat(descriptor)
    del store
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
