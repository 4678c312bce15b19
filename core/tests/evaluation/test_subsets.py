import numpy as np
import pytest

from selfsup.errors import ConfigError
from selfsup.evaluation.subsets import balanced_subset, flipped_labels, stratified_folds

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


def test_flipped_labels_are_wrong_in_exactly_the_wanted_share():
    labels = np.arange(1000) % 4
    noisy = flipped_labels(labels, 0.3, seed=0)
    wrong = noisy != labels
    assert wrong.sum() == 300
    assert not np.shares_memory(noisy, labels)
    np.testing.assert_array_equal(noisy, flipped_labels(labels, 0.3, seed=0))
    assert (noisy != flipped_labels(labels, 0.3, seed=1)).any()
    assert (flipped_labels(labels, 0.0, seed=0) == labels).all()
    assert ((flipped_labels(labels, 0.1, seed=0) != labels) <= wrong).all()
    # Of 300 wrong labels each of the three other classes has about 100 (deviation 8).
    step = np.bincount((noisy - labels)[wrong] % 4, minlength=4)
    assert step[0] == 0
    assert (abs(step[1:] - 100) < 40).all()


def test_flipped_labels_keep_to_the_classes_that_are_there():
    labels = np.array([2, 7] * 50)
    noisy = flipped_labels(labels, 0.5, seed=0)
    assert set(noisy) == {2, 7}
    assert (noisy != labels).sum() == 50


def test_wrong_labels_are_not_the_first_ones_of_a_subset():
    labels = np.arange(2000) % 2
    noisy = flipped_labels(labels, 0.3, seed=0)
    rows = balanced_subset(noisy, 0.2, seed=0)
    # 400 rows, 120 of them wrong in expectation, deviation 9: drawn in one order with the subset, all would be.
    assert abs((noisy != labels)[rows].sum() - 120) < 45
