"""Models of every kind of label, held against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from selfsup.errors import ConfigError
from selfsup.evaluation.evaluators.knn import knn_mean
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.maths.class_weights import row_weights, weight_table
from selfsup.evaluation.maths.logistic import fit_path
from selfsup.evaluation.maths.ridge import fit_ridge
from selfsup.evaluation.subsets import labelled_subset, stratified_folds


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / d**0.5
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) @ mixing


def several(x: torch.Tensor, k: int = 4) -> torch.Tensor:
    scores = x[:, :k] * 2 + torch.randn(len(x), k, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    return (scores > torch.linspace(0, 1.5, k, dtype=x.dtype)).double()


@pytest.mark.parametrize(("n", "d"), [(80, 12), (12, 40)])
@pytest.mark.parametrize("targets", [(), (3,)])
def test_ridge_is_scikit_learns(n, d, targets):
    x = features(n, d) + 5
    y = x[:, : max(targets, default=1)].reshape(n, *targets) * 3 + 7 + torch.randn(n, *targets, dtype=torch.float64)
    new = features(20, d, seed=1) + 5
    for l2, model in zip((1.0, 1e-3), fit_ridge(x, y, (1.0, 1e-3)), strict=True):
        reference = Ridge(alpha=n * l2).fit(x.numpy(), y.numpy())
        np.testing.assert_allclose(model.predict(new).numpy(), reference.predict(new.numpy()), rtol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_logistic_regression_a_class_is_scikit_learns(weighted):
    x = features(300, 10)
    x -= x.mean(dim=0)
    y = several(x)
    table = weight_table("balanced", y, 4, "abcd", what="linear") if weighted else None
    weights = None if table is None else row_weights(table, y).double()
    for l2, model in zip((0.1, 1e-2), fit_path(x, y, 4, (0.1, 1e-2), weights=weights, tolerance=1e-14), strict=True):
        for k in range(4):
            reference = LogisticRegression(
                C=1 / (len(x) * l2), tol=1e-10, max_iter=10_000, class_weight="balanced" if weighted else None
            ).fit(x.numpy(), y[:, k].numpy())
            np.testing.assert_allclose(model.logits(x)[:, k].numpy(), reference.decision_function(x.numpy()), atol=2e-5)


def test_class_weights_are_scikit_learns():
    x = features(300, 10)
    x -= x.mean(dim=0)
    y = several(x).sum(dim=1).long()
    assert len(y.unique()) == 5
    for option, same in (("balanced", "balanced"), ({"b": 3.0, "d": 0.5}, {0: 1, 1: 3.0, 2: 1, 3: 0.5, 4: 1})):
        table = weight_table(option, y, 5, "abcde", what="linear")
        assert table is not None
        (model,) = fit_path(x, y, 5, (0.01,), weights=row_weights(table, y).double(), tolerance=1e-14)
        reference = LogisticRegression(C=1 / (len(x) * 0.01), tol=1e-10, max_iter=10_000, class_weight=same)
        wanted = reference.fit(x.numpy(), y.numpy()).predict_proba(x.numpy())
        np.testing.assert_allclose(model.log_probabilities(x).exp().numpy(), wanted, atol=1e-5)


def test_class_weights_that_do_not_fit_are_refused():
    y = torch.tensor([0, 1])
    assert weight_table("none", y, 2, "ab", what="linear") is None
    with pytest.raises(ConfigError, match="names 'c', which is no class"):
        weight_table({"c": 2.0}, y, 2, "ab", what="linear")
    with pytest.raises(ConfigError, match="the weight 0"):
        weight_table({"a": 0.0}, y, 2, "ab", what="linear")
    with pytest.raises(ConfigError, match="the labels are numbers"):
        weight_table("balanced", y.double(), 1, (), what="finetune")
    assert weight_table("balanced", torch.tensor([0, 0, 0, 2]), 4, "abcd", what="x") == pytest.approx([2 / 3, 1, 2, 1])


def test_weights_change_what_the_probe_prefers():
    x = torch.cat([torch.randn(300, 2), torch.randn(20, 2) + 1])
    y = torch.tensor([0] * 300 + [1] * 20)
    plain = fit_probe(x, y, 2, LinearConfig(), seed=0).outputs(x).argmax(dim=1)
    weighed = fit_probe(x, y, 2, LinearConfig(class_weight="balanced"), seed=0).outputs(x).argmax(dim=1)
    assert float((weighed == 1)[y == 1].float().mean()) > float((plain == 1)[y == 1].float().mean()) + 0.2


def test_the_ridge_penalty_is_chosen_on_held_out_rows():
    x = features(120, 60).float()
    y = x[:, 0].double() * 2 + 4 * torch.randn(120, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    new = features(500, 60, seed=8).float()
    wanted = new[:, 0].double() * 2

    def error(config):
        probe = fit_probe(x, y, 1, config, seed=0)
        return float((probe.outputs(new) - wanted).square().mean()), probe.l2

    chosen, l2 = error(LinearConfig())
    weakest, _ = error(LinearConfig(ridge=(1e-6,)))
    assert chosen < 0.5 * weakest
    assert 1e-3 < l2 <= 100


def test_the_penalty_of_several_classes_is_chosen_on_held_out_rows():
    x = features(100, 60).float()
    y, new = several(x), features(400, 60, seed=8).float()
    wanted = several(new)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    chosen = loss(fit_probe(x, y, 4, LinearConfig(), seed=0).outputs(new).double(), wanted)
    weakest = loss(fit_probe(x, y, 4, LinearConfig(l2=(1e-5,)), seed=0).outputs(new).double(), wanted)
    assert chosen < 0.7 * weakest


def test_neighbours_are_scikit_learns():
    x, new = features(200, 8).float(), features(30, 8, seed=2).float()
    kwargs = {"metric": "cosine", "algorithm": "brute", "weights": lambda d: np.exp((1 - d) / 0.07)}
    y = x[:, 0].double() * 10
    reference = KNeighborsRegressor(5, **kwargs).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(knn_mean(new, x, y, k=5).numpy(), reference.predict(new.numpy()), rtol=1e-4, atol=1e-4)
    many = several(x)
    classifier = KNeighborsClassifier(5, **kwargs).fit(x.numpy(), many.numpy())
    votes = np.stack([p[:, 1] for p in classifier.predict_proba(new.numpy())], axis=1)
    np.testing.assert_allclose(knn_mean(new, x, many, k=5).numpy(), votes, atol=1e-5)


def test_subsets_and_folds_of_numbers_are_spread_over_their_range():
    numbers = np.sort(np.random.default_rng(0).standard_normal(400)) ** 3
    rows = labelled_subset(numbers, 0.1, seed=0)
    assert np.bincount(rows // 40).tolist() == [4] * 10
    assert len(labelled_subset(numbers, 0.01, seed=0)) == 4
    folds = stratified_folds(numbers, 5, seed=0)
    assert all(np.bincount(folds[start : start + 40]).tolist() == [8] * 5 for start in range(0, 400, 40))
    many = np.zeros((50, 3), dtype=np.int8)
    assert np.bincount(stratified_folds(many, 5, seed=0)).tolist() == [10] * 5
    assert len(labelled_subset(many, 0.2, seed=1)) == 10
    with pytest.raises(ConfigError, match="two are needed"):
        labelled_subset(numbers, 0.002, seed=0)
