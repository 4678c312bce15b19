"""Real tables that come in scikit-learn's wheel."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from selfsup_bench.datasets.cache import Columns, cached

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
