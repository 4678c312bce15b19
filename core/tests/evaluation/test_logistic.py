import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from selfsup.evaluation.maths import logistic
from selfsup.evaluation.maths.logistic import Standardizer, fit_path


def _data(n=400, dim=30, n_classes=5, dtype=torch.float64, seed=0):
    """Correlated features of very different scales, as embeddings have them."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(n_classes, (n,), generator=g)
    centres = torch.randn(n_classes, dim, generator=g)
    x = (centres[y] + 2 * torch.randn(n, dim, generator=g)) @ torch.randn(dim, dim, generator=g)
    return (x * torch.logspace(-2, 2, dim) + 5).to(dtype), y


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("max_eigen", [4096, 0])
def test_fits_agree_with_scikit_learn_in_float64(monkeypatch, n_classes, max_eigen):
    monkeypatch.setattr(logistic, "_MAX_EIGEN", max_eigen)  # 0: without the eigenbasis
    raw, y = _data(n_classes=n_classes)
    x = Standardizer.fit(raw)(raw)
    path = [1.0, 0.1, 1e-3]
    for l2, model in zip(path, fit_path(x, y, n_classes, path, tolerance=1e-12, max_iterations=1000), strict=True):
        C = (2 if n_classes == 2 else 1) / (len(x) * l2)
        reference = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(x.numpy(), y.numpy())
        np.testing.assert_allclose(
            model.log_probabilities(x).exp().numpy(), reference.predict_proba(x.numpy()), atol=3e-5, err_msg=f"l2={l2}"
        )


def test_float32_with_the_default_tolerance_is_close_enough():
    raw, y = _data(dtype=torch.float32)
    x = Standardizer.fit(raw)(raw)
    (model,) = fit_path(x, y, 5, [1e-3])
    reference = LogisticRegression(C=1 / (len(x) * 1e-3), tol=1e-8, max_iter=10_000).fit(x.double().numpy(), y.numpy())
    np.testing.assert_allclose(model.log_probabilities(x).exp().numpy(), reference.predict_proba(x.double().numpy()), atol=0.02)
    agree = (model.log_probabilities(x).argmax(dim=1).numpy() == reference.predict(x.double().numpy())).mean()
    assert agree > 0.99


def test_the_eigenbasis_saves_iterations(monkeypatch):
    # A spectrum that falls over three decades, as that of embeddings does.
    g = torch.Generator().manual_seed(0)
    z = torch.randn(2000, 60, generator=g, dtype=torch.float64)
    x = (z * torch.logspace(0, -3, 60)) @ torch.linalg.qr(torch.randn(60, 60, generator=g, dtype=torch.float64)).Q
    y = (z @ torch.randn(60, 5, generator=g, dtype=torch.float64)).argmax(dim=1)
    x = Standardizer.fit(x)(x)
    (quick,) = fit_path(x, y, 5, [1e-4])
    monkeypatch.setattr(logistic, "_MAX_EIGEN", 0)
    (slow,) = fit_path(x, y, 5, [1e-4], max_iterations=1000)
    assert quick.iterations < slow.iterations / 2


def test_rows_in_chunks_give_the_same_fit(monkeypatch):
    raw, y = _data()
    x = Standardizer.fit(raw)(raw)
    (whole,) = fit_path(x, y, 5, [0.01], tolerance=1e-10)
    monkeypatch.setattr(logistic, "_CHUNK_NUMBERS", 5 * 70)
    (parts,) = fit_path(x, y, 5, [0.01], tolerance=1e-10)
    assert torch.allclose(whole.weight, parts.weight, atol=1e-5)


def test_starting_from_the_solution_takes_no_step():
    raw, y = _data()
    x = Standardizer.fit(raw)(raw)
    (model,) = fit_path(x, y, 5, [0.01], tolerance=1e-8)
    (again,) = fit_path(x, y, 5, [0.01], start=model, tolerance=1e-7)
    assert again.iterations == 0
    assert torch.allclose(again.weight, model.weight, atol=1e-9)


def test_a_stronger_penalty_gives_smaller_weights():
    raw, y = _data()
    x = Standardizer.fit(raw)(raw)
    norms = [float(model.weight.norm()) for model in fit_path(x, y, 5, [1.0, 0.1, 0.01])]
    assert norms == sorted(norms)


def test_separable_rows_and_more_features_than_rows_are_fitted():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(10, 50, generator=g), torch.arange(10) % 2
    (model,) = fit_path(x, y, 2, [1e-5])
    assert torch.equal(model.log_probabilities(x).argmax(dim=1), y)
    assert torch.isfinite(model.weight).all()


def test_features_are_standardised_as_by_scikit_learn():
    x, _ = _data()
    x[:, 3] = 7.1
    np.testing.assert_allclose(Standardizer.fit(x)(x).numpy(), StandardScaler().fit_transform(x.numpy()), atol=1e-8)


def test_a_constant_float32_feature_becomes_zero_and_no_noise():
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.1
    assert (Standardizer.fit(x)(x)[:, 1] == 0).all()
