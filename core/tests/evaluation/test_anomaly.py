import torch
from sklearn.neighbors import NearestNeighbors

from selfsup.evaluation.evaluators.anomaly import anomaly_scores


def test_scores_agree_with_scikit_learn():
    g = torch.Generator().manual_seed(0)
    normal, queries = torch.randn(80, 6, generator=g), torch.randn(30, 6, generator=g)
    distances, _ = NearestNeighbors(n_neighbors=3, metric="cosine").fit(normal.numpy()).kneighbors(queries.numpy())
    assert torch.allclose(anomaly_scores(queries, normal, k=3), torch.from_numpy(distances).mean(dim=1), atol=1e-6)


def test_fewer_normal_rows_than_k_all_count():
    g = torch.Generator().manual_seed(0)
    normal, queries = torch.randn(2, 6, generator=g), torch.randn(5, 6, generator=g)
    assert torch.equal(anomaly_scores(queries, normal, k=9), anomaly_scores(queries, normal, k=2))
