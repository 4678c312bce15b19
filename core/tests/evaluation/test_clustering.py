import itertools

import pytest
import torch

from selfsup.evaluation.evaluators.clustering import hungarian_accuracy, kmeans


def test_hungarian_accuracy_is_that_of_the_best_naming():
    g = torch.Generator().manual_seed(0)
    targets, clusters = torch.randint(4, (60,), generator=g), torch.randint(4, (60,), generator=g)
    best = max(float((torch.tensor(names)[clusters] == targets).double().mean()) for names in itertools.permutations(range(4)))
    assert hungarian_accuracy(clusters, targets) == pytest.approx(best, abs=1e-12)


def test_renamed_clusters_are_perfect_and_more_clusters_than_classes_are_counted():
    targets = torch.tensor([0, 0, 1, 1])
    assert hungarian_accuracy(torch.tensor([1, 1, 0, 0]), targets) == 1
    assert hungarian_accuracy(torch.tensor([0, 1, 2, 3]), targets) == 0.5
    assert hungarian_accuracy(torch.tensor([0, 0, 0, 0]), targets) == 0.5


def test_kmeans_finds_clusters_and_repeats_them():
    g = torch.Generator().manual_seed(0)
    targets = torch.arange(90) % 3
    x = 5 * torch.eye(3)[targets] + 0.3 * torch.randn(90, 3, generator=g)
    clusters = kmeans(x, 3, n_init=3, seed=0)
    assert hungarian_accuracy(clusters, targets) == 1
    assert torch.equal(clusters, kmeans(x, 3, n_init=3, seed=0))


def test_collapsed_embeddings_make_one_cluster_without_a_warning():
    assert kmeans(torch.ones(20, 3), 4, n_init=1, seed=0).unique().numel() == 1
