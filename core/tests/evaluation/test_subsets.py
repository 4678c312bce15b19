import numpy as np
import pytest

from selfsup.errors import ConfigError
from selfsup.evaluation.subsets import balanced_subset, stratified_folds

LABELS = np.repeat(np.arange(10), 100)


@pytest.mark.parametrize(("fraction", "each"), [(0.01, 1), (0.05, 5), (0.1, 10), (0.55, 55)])
def test_subset_has_as_many_rows_of_every_class(fraction, each):
    rows = balanced_subset(LABELS, fraction, seed=0)
    assert np.bincount(LABELS[rows]).tolist() == [each] * 10
    assert len(set(rows.tolist())) == len(rows)


def test_all_rows_are_all_rows():
    assert balanced_subset(LABELS, 1.0, seed=0).tolist() == list(range(1000))


def test_a_small_class_gives_all_it_has_and_the_others_share_the_rest():
    labels = np.repeat([0, 1, 2], [4, 96, 100])
    counts = np.bincount(labels[balanced_subset(labels, 0.2, seed=0)])
    assert counts.tolist() == [4, 18, 18]


def test_every_class_has_a_row_even_where_the_share_is_odd():
    labels = np.repeat([0, 1, 2], [1, 1, 98])
    assert np.bincount(labels[balanced_subset(labels, 0.03, seed=0)]).tolist() == [1, 1, 1]
    assert np.bincount(labels[balanced_subset(labels, 0.04, seed=0)]).tolist() == [1, 1, 2]


def test_same_seed_same_rows_and_smaller_shares_lie_in_larger_ones():
    small, large = balanced_subset(LABELS, 0.05, seed=1), balanced_subset(LABELS, 0.1, seed=1)
    assert small.tolist() == balanced_subset(LABELS, 0.05, seed=1).tolist()
    assert small.tolist() != balanced_subset(LABELS, 0.05, seed=2).tolist()
    assert set(small) <= set(large)


def test_a_share_with_fewer_rows_than_classes_is_refused():
    with pytest.raises(
        ConfigError, match=r"fraction=0.001 of 1000 labelled rows is 1, and there are 10 classes.* at least 0.01"
    ):
        balanced_subset(LABELS, 0.001, seed=0)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_a_share_out_of_range_is_refused(fraction):
    with pytest.raises(ConfigError, match=f"fraction={fraction} is not allowed"):
        balanced_subset(LABELS, fraction, seed=0)


def test_folds_are_stratified_and_single_rows_are_never_held_out():
    labels = np.repeat([0, 1, 2, 3], [50, 25, 2, 1])
    folds = stratified_folds(labels, 5, seed=0)
    assert [np.bincount(folds[labels == 0]).tolist(), np.bincount(folds[labels == 1]).tolist()] == [[10] * 5, [5] * 5]
    assert sorted(folds[labels == 2]) == [0, 1]
    assert folds[labels == 3].tolist() == [-1]
    assert folds.tolist() == stratified_folds(labels, 5, seed=0).tolist()
    assert folds.tolist() != stratified_folds(labels, 5, seed=1).tolist()
