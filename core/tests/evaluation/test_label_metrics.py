"""Metrics of every kind of label, held against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from selfsup.evaluation.maths.metrics import (
    HEADLINES,
    classification_metrics,
    label_metrics,
    regression_metrics,
    several_classes_metrics,
)


def test_class_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for n_classes in (2, 4):
        y = rng.integers(0, n_classes, 200)
        log_p = torch.from_numpy(rng.standard_normal((200, n_classes)).round(1)).log_softmax(dim=1)
        found = classification_metrics(log_p, torch.from_numpy(y))
        guess, p = log_p.argmax(dim=1).numpy(), log_p.exp().numpy()
        wanted = {
            "accuracy": reference.accuracy_score(y, guess),
            "macro_f1": reference.f1_score(y, guess, average="macro"),
            "balanced_accuracy": reference.balanced_accuracy_score(y, guess),
            "cross_entropy": reference.log_loss(y, p),
        }
        if n_classes == 2:
            margin = (log_p[:, 1] - log_p[:, 0]).numpy()
            wanted |= {
                "auroc": reference.roc_auc_score(y, margin),
                "average_precision": reference.average_precision_score(y, margin),
            }
        assert found == pytest.approx(wanted, abs=1e-12)
        assert list(found) == list(wanted), "and nothing else, the headline first"


def test_balanced_accuracy_is_over_the_classes_that_are_there():
    y, guess = torch.tensor([0, 0, 0, 2]), torch.tensor([0, 0, 1, 2])
    log_p = torch.nn.functional.one_hot(guess, 4).double().log_softmax(dim=1)
    assert classification_metrics(log_p, y)["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)


def test_areas_are_left_out_where_all_test_rows_are_of_one_class():
    log_p = torch.tensor([[0.2, 0.8], [0.6, 0.4]]).log()
    assert "auroc" not in classification_metrics(log_p, torch.tensor([1, 1]))


def test_areas_are_nan_where_a_score_is_nan_and_take_infinite_ones():
    y = torch.tensor([0, 1, 0, 1])
    log_p = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0], [-0.5, -1.0], [-1.0, -0.5]])
    found = classification_metrics(log_p, y)
    assert (found["auroc"], found["average_precision"]) == (1.0, 1.0)
    log_p[2] = torch.nan
    found = classification_metrics(log_p, y)
    assert math.isnan(found["auroc"])
    assert math.isnan(found["average_precision"])
    assert math.isnan(
        several_classes_metrics(torch.where(torch.arange(4).unsqueeze(1) == 2, torch.nan, log_p), log_p > -0.6)["map"]
    )


def test_one_class_alone_has_its_own_f1():
    odds, y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0], [-1.0]]), torch.tensor([[1], [0], [1], [0], [0]])
    assert several_classes_metrics(odds, y) == pytest.approx({"map": 0.45, "micro_f1": 0.5, "macro_f1": 0.5})
    nothing = several_classes_metrics(torch.full((2, 1), -1.0), torch.zeros(2, 1))
    assert all(math.isnan(value) for value in nothing.values())


def test_metrics_of_several_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    y = (rng.random((150, 5)) < [0.5, 0.2, 0.1, 0.05, 0.6]).astype(np.int8)
    odds = rng.standard_normal((150, 5)) + 2 * y - 1
    found = several_classes_metrics(torch.from_numpy(odds), torch.from_numpy(y))
    assert found == pytest.approx(
        {
            "map": reference.average_precision_score(y, odds, average="macro"),
            "micro_f1": reference.f1_score(y, odds > 0, average="micro"),
            "macro_f1": reference.f1_score(y, odds > 0, average="macro"),
        },
        abs=1e-12,
    )


def test_classes_that_no_test_row_has_do_not_count():
    y = torch.tensor([[1, 0], [0, 0], [1, 0]])
    found = several_classes_metrics(torch.tensor([[2.0, -1.0], [-2.0, -1.0], [1.0, -1.0]]), y)
    assert found == {"map": 1.0, "micro_f1": 1.0, "macro_f1": 1.0}
    nothing = several_classes_metrics(torch.full((2, 2), -1.0), torch.zeros(2, 2))
    assert all(math.isnan(value) for value in nothing.values())


def test_regression_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    y = 1e6 + 3 * rng.standard_normal(100)
    guess = y + rng.standard_normal(100)
    found = regression_metrics(torch.from_numpy(guess), torch.from_numpy(y))
    wanted = {
        "r2": reference.r2_score(y, guess),
        "rmse": math.sqrt(reference.mean_squared_error(y, guess)),
        "mae": reference.mean_absolute_error(y, guess),
    }
    assert found == pytest.approx(wanted, rel=1e-9)
    flat, same = torch.ones(3), np.ones(3)
    assert regression_metrics(flat, flat)["r2"] == reference.r2_score(same, same) == 1.0
    assert regression_metrics(flat + 1, flat)["r2"] == reference.r2_score(same, same + 1) == 0.0
    assert math.isnan(regression_metrics(flat[:1], flat[:1])["r2"])


def test_the_headline_of_each_kind_stands_first():
    log_p, several, numbers = torch.randn(8, 3).log_softmax(dim=1), torch.randn(8, 3), torch.randn(8)
    found = {
        "class": label_metrics("class", log_p, torch.arange(8) % 3),
        "classes": label_metrics("classes", several, (torch.randn(8, 3) > 0).float()),
        "number": label_metrics("number", numbers, numbers * 2),
    }
    assert {kind: next(iter(metrics)) for kind, metrics in found.items()} == HEADLINES
