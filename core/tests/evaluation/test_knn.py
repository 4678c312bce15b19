import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from selfsup.evaluation.evaluators.knn import KNNConfig, knn_log_probabilities
from selfsup.evaluation.evaluators.linear import LinearConfig


def _data(seed=0, n=300, dim=12, n_classes=4):
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(n_classes, dim, generator=g)
    y = torch.randint(n_classes, (n,), generator=g)
    return centres[y] + 1.2 * torch.randn(n, dim, generator=g), y


@pytest.mark.parametrize(("k", "tau"), [(1, 0.07), (20, 0.07), (50, 0.5)])
def test_votes_agree_with_scikit_learn(k, tau):
    x, y = _data()
    model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / tau))
    model.fit(x[:200].double().numpy(), y[:200].numpy())
    expected = model.predict_proba(x[200:].double().numpy())
    log_p = knn_log_probabilities(x[200:], x[:200], y[:200], 4, k=k, tau=tau)
    # The smoothing is one vote more, spread over all classes.
    votes = (log_p.exp() * (k + 1) - 1 / 4) / k
    np.testing.assert_allclose(votes.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(log_p.exp().sum(dim=1).numpy(), 1, atol=1e-5)
    assert (log_p.argmax(dim=1).numpy() == model.predict(x[200:].double().numpy())).all()


def test_k_above_the_number_of_rows_takes_all_of_them():
    x, y = _data(n=30)
    assert torch.equal(
        knn_log_probabilities(x[20:], x[:20], y[:20], 4, k=1000), knn_log_probabilities(x[20:], x[:20], y[:20], 4, k=20)
    )


def test_length_of_embeddings_does_not_matter():
    x, y = _data()
    scaled = x * torch.rand(300, 1, generator=torch.Generator().manual_seed(1)).add(0.1)
    a = knn_log_probabilities(x[200:], x[:200], y[:200], 4)
    b = knn_log_probabilities(scaled[200:], scaled[:200], y[:200], 4)
    assert torch.allclose(a, b, atol=1e-4)


def test_a_class_without_a_vote_has_a_finite_cross_entropy():
    log_p = knn_log_probabilities(torch.ones(1, 2), torch.ones(5, 2), torch.zeros(5, dtype=torch.long), 3)
    assert log_p.exp().tolist()[0] == pytest.approx([16 / 18, 1 / 18, 1 / 18])


def test_defaults_are_those_that_are_documented():
    assert (KNNConfig().k, KNNConfig().tau) == (20, 0.07)
    assert sorted(LinearConfig().l2, reverse=True) == list(LinearConfig().l2)
