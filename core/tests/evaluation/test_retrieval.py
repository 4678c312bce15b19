import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_similarity

from selfsup.evaluation.evaluators import retrieval
from selfsup.evaluation.evaluators.retrieval import first_hit_ranks, mean_average_precision, recall_at


def _data(seed=0):
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 8, generator=g)
    labels = torch.randint(5, (360,), generator=g)
    x = centres[labels] + 1.5 * torch.randn(360, 8, generator=g)
    return x[:60], labels[:60], x[60:], labels[60:]


def test_map_agrees_with_scikit_learn(monkeypatch):
    queries, query_labels, gallery, gallery_labels = _data()
    scores = cosine_similarity(queries.double().numpy(), gallery.double().numpy())
    expected = np.mean(
        [average_precision_score(gallery_labels.numpy() == int(y), row) for y, row in zip(query_labels, scores, strict=True)]
    )
    assert mean_average_precision(queries, query_labels, gallery, gallery_labels) == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(retrieval, "_CHUNK_NUMBERS", 7 * len(gallery))
    assert mean_average_precision(queries, query_labels, gallery, gallery_labels) == pytest.approx(expected, abs=1e-6)


def test_map_of_equal_scores_ranks_other_classes_first():
    gallery, labels = torch.ones(4, 2), torch.tensor([0, 1, 1, 1])
    assert mean_average_precision(torch.ones(1, 2), torch.tensor([0]), gallery, labels) == pytest.approx(1 / 4)


def test_map_leaves_embeddings_as_they_are():
    queries, query_labels, gallery, gallery_labels = _data()
    before = queries.clone(), gallery.clone()
    mean_average_precision(queries, query_labels, gallery, gallery_labels)
    assert torch.equal(queries, before[0])
    assert torch.equal(gallery, before[1])


def test_recall_is_the_share_of_queries_with_a_hit():
    queries, query_labels, gallery, gallery_labels = _data()
    order = np.argsort(-cosine_similarity(queries.double().numpy(), gallery.double().numpy()), axis=1, kind="stable")
    hits = gallery_labels.numpy()[order] == query_labels.numpy()[:, None]
    ks = [1, 5, 10, 10_000]
    expected = [hits[:, :k].any(axis=1).mean() for k in ks]
    assert recall_at(queries, query_labels, gallery, gallery_labels, ks) == pytest.approx(expected, abs=1e-12)


def test_ranks_of_the_first_hit_equal_a_loop_over_the_gallery():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(30, 8, generator=generator), torch.randn(50, 8, generator=generator)
    asked = [torch.randint(0, 20, (30,), generator=generator), torch.arange(30)]
    held = [torch.randint(0, 20, (50,), generator=generator), torch.arange(50)]
    found = first_hit_ranks(queries, gallery, list(zip(asked, held, strict=True)))
    for i in range(30):
        scores = torch.cosine_similarity(queries[i : i + 1].double(), gallery.double())
        right = torch.tensor([bool(asked[0][i] == held[0][j]) or i == j for j in range(50)])
        order = scores.argsort(descending=True)
        assert found.ranks[i] == right[order].int().argmax() + 1
        assert found.right[i] == right.sum()


def test_ties_take_the_mean_of_their_ranks():
    """Of 9 equal rows, the one right row stands at 5; of two right rows, the first stands at 1 + 7 / 3 over all orders."""
    gallery = torch.cat([torch.eye(4)[:1], torch.eye(4)[1:2].expand(9, 4)])
    query = torch.tensor([[1.0, 1.0, 0.0, 0.0]])  # all ten are as near
    one = first_hit_ranks(query, gallery, [(torch.tensor([3]), torch.arange(10))])
    assert one.ranks.tolist() == [5.5]
    two = first_hit_ranks(query, gallery, [(torch.tensor([3]), torch.arange(10) // 2 * 3)])
    orders = [min(pair) + 1 for pair in itertools.combinations(range(10), 2)]
    assert two.right.tolist() == [2]
    assert two.ranks[0] == pytest.approx(sum(orders) / len(orders))
    behind = first_hit_ranks(torch.eye(4)[:1], gallery, [(torch.tensor([3]), torch.arange(10))])
    assert behind.ranks.tolist() == [6.0], "one row is nearer, and nine tie for the places 2 to 10"
