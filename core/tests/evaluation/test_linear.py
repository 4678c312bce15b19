import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from selfsup.evaluation.evaluators import linear
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.maths import penalty


def _data(n, dim=20, n_classes=3, noise=1.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % n_classes
    return torch.randn(n_classes, dim, generator=torch.Generator().manual_seed(9))[y] + noise * torch.randn(
        n, dim, generator=g
    ), y


def _accuracy(probe, x, y):
    return float((probe.outputs(x).argmax(dim=1) == y).double().mean())


def test_accuracy_is_that_of_scikit_learn_with_cross_validation():
    (x, y), (x_test, y_test) = _data(300), _data(2000, seed=1)
    probe = fit_probe(x, y, 3, LinearConfig(), seed=0)
    scaler = StandardScaler().fit(x.numpy())
    reference = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [1 / (300 * l2) for l2 in LinearConfig().l2]}, cv=5)
    reference.fit(scaler.transform(x.numpy()), y.numpy())
    expected = reference.score(scaler.transform(x_test.numpy()), y_test.numpy())
    assert expected > 0.7
    assert abs(_accuracy(probe, x_test, y_test) - expected) < 0.015


def test_the_penalty_is_chosen_on_held_out_rows():
    # With as many features as rows every weak penalty fits the training rows in full; only held-out rows tell them apart.
    (x, y), (x_test, y_test) = _data(60, dim=200, noise=3.0), _data(3000, dim=200, noise=3.0, seed=1)
    chosen = fit_probe(x, y, 3, LinearConfig(), seed=0)
    weakest = fit_probe(x, y, 3, LinearConfig(l2=(1e-5,)), seed=0)
    assert _accuracy(weakest, x, y) == 1
    assert chosen.l2 > 1e-5
    assert _accuracy(chosen, x_test, y_test) >= _accuracy(weakest, x_test, y_test) - 0.005


def test_a_single_penalty_is_taken_as_it_is():
    x, y = _data(60)
    assert fit_probe(x, y, 3, LinearConfig(l2=(0.5,)), seed=0).l2 == 0.5


def test_one_row_a_class_takes_the_middle_penalty():
    x, y = _data(3)
    assert fit_probe(x, y, 3, LinearConfig(l2=(1.0, 0.1, 0.01)), seed=0).l2 == 0.1


def test_many_rows_hold_out_one_fold_only(monkeypatch):
    fits = []
    real = linear.fit_path
    monkeypatch.setattr(linear, "fit_path", lambda x, *args, **kwargs: fits.append(len(x)) or real(x, *args, **kwargs))
    x, y = _data(100)
    fit_probe(x, y, 3, LinearConfig(), seed=0)
    assert len(fits) == 6
    assert fits[-1] == 100
    fits.clear()
    monkeypatch.setattr(penalty, "_ONE_FOLD_FROM", 100)
    fit_probe(x, y, 3, LinearConfig(), seed=0)
    assert len(fits) == 2
    assert 75 <= fits[0] <= 85


def test_the_same_seed_gives_the_same_probe():
    x, y = _data(200)
    a, b = fit_probe(x, y, 3, LinearConfig(), seed=3), fit_probe(x, y, 3, LinearConfig(), seed=3)
    assert a.l2 == b.l2
    assert torch.equal(a.model.weight, b.model.weight)


def test_features_of_any_scale_give_the_same_probe():
    x, y = _data(200)
    scale = torch.from_numpy(np.logspace(-3, 3, 20)).float()
    a, b = fit_probe(x, y, 3, LinearConfig(), seed=0), fit_probe(x * scale, y, 3, LinearConfig(), seed=0)
    assert torch.allclose(a.outputs(x), b.outputs(x * scale), atol=1e-2)
