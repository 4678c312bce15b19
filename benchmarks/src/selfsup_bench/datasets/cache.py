"""Embedded data sets are made once from the package that holds them, and then read from the cache folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup.data import cache_root, strata
from selfsup.errors import SourceError, StorageError
from selfsup.runtime import temporary_folder

if TYPE_CHECKING:
    from datasets import Dataset, Features

SPLITS = ("train", "test")
TEST_EVERY = 5
"""Every fifth row of a class goes to the test split."""

Labels = np.ndarray[Any, np.dtype[np.int64]]
Columns = Mapping[str, list[Any]]
"""Column to values; ``label`` among them."""


def file_feature() -> Features:
    """The feature of a column of encoded files: what ``datasets`` keeps of sounds and videos, without asking for a decoder."""
    from datasets import Features, Value

    return Features({"bytes": Value("binary"), "path": Value("string")})


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


def cached(name: str, source: str, split: str, read: Callable[[], tuple[Columns, Features]]) -> Dataset:
    """One split of an embedded data set.

    Args:
        name: of the data set.
        source: what it is made from, with its version; part of the name of its folder.
        split: ``train`` or ``test``.
        read: gives all rows as columns, and their features.

    Raises:
        SourceError: there is no such split.
        StorageError: the cache folder cannot be written.
    """
    from datasets import load_from_disk

    folder = cache_root() / "embedded" / f"{name}-{source}"
    if split not in SPLITS:
        raise SourceError(f"the data set {name} has no split {split!r}: choose {' or '.join(SPLITS)}.")
    if not (folder / split).is_dir():
        _write(folder, read)
    dataset: Dataset = load_from_disk(str(folder / split))
    return dataset


def _write(folder: Path, read: Callable[[], tuple[Columns, Features]]) -> None:
    from datasets import Dataset

    columns, features = read()
    whole = Dataset.from_dict(dict(columns), features=features)
    labels = strata(np.asarray(columns["label"]))  # numbers by their tenths
    try:
        # Written beside the goal and renamed, so that no other process ever sees half of it.
        with temporary_folder(folder) as new:
            with _quiet():
                for split in SPLITS:
                    rows = whole.select(split_rows(labels, split), keep_in_memory=True)
                    rows.flatten_indices(keep_in_memory=True).save_to_disk(str(new / split))
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
