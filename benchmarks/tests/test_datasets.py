from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from selfsup.errors import SourceError, StorageError
from selfsup_bench import datasets as embedded
from selfsup_bench.datasets import digits, mnist_5k, split_rows


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))


def test_mnist_is_balanced_and_its_splits_share_no_row() -> None:
    train, test = mnist_5k("train"), mnist_5k("test")
    assert np.bincount(train["label"]).tolist() == [400] * 10
    assert np.bincount(test["label"]).tolist() == [100] * 10
    assert train[0]["image"].size == (28, 28)
    raw = [{row["bytes"] for row in split.data.column("image").to_pylist()} for split in (train, test)]
    assert not raw[0] & raw[1]


def test_digits_are_scikit_learns_pixels() -> None:
    rows = digits("train").data.column("image").to_pylist()
    first = np.asarray(Image.open(io.BytesIO(rows[0]["bytes"])))
    assert (first == (load_digits().images[0] * 255 / 16).round()).all()
    assert len(rows) + len(digits("test")) == 1797


def test_split_depends_on_the_order_of_the_rows_alone() -> None:
    labels = np.array([0] * 10 + [1] * 5)
    assert split_rows(labels, "test").tolist() == [4, 14, 9]
    assert sorted([*split_rows(labels, "train"), *split_rows(labels, "test")]) == list(range(15))


def test_unknown_split() -> None:
    with pytest.raises(SourceError, match="no split 'validation': choose train or test"):
        digits("validation")


def test_second_use_reads_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    first = digits("test")._fingerprint
    monkeypatch.setattr(embedded, "_read_digits", lambda: pytest.fail("was read again"))
    assert digits("test")._fingerprint == first


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="SELFSUP_CACHE"):
        digits("test")
