import math

import pytest
import sklearn.metrics as reference
import torch

from selfsup.evaluation.maths.metrics import accuracy, auroc, classification_metrics, cross_entropy, macro_f1


def test_classification_metrics_agree_with_scikit_learn():
    g = torch.Generator().manual_seed(0)
    log_p = torch.randn(200, 5, generator=g, dtype=torch.float64).log_softmax(dim=1)
    y = torch.randint(5, (200,), generator=g)
    metrics = classification_metrics(log_p, y)
    predicted = log_p.argmax(dim=1).numpy()
    assert next(iter(metrics)) == "accuracy"
    assert metrics["accuracy"] == pytest.approx(reference.accuracy_score(y.numpy(), predicted), abs=1e-12)
    assert metrics["macro_f1"] == pytest.approx(reference.f1_score(y.numpy(), predicted, average="macro"), abs=1e-12)
    assert metrics["cross_entropy"] == pytest.approx(reference.log_loss(y.numpy(), log_p.exp().numpy()), abs=1e-12)


def test_macro_f1_counts_a_class_that_is_only_predicted_or_only_there():
    targets, predictions = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 2, 2, 0])
    expected = reference.f1_score(targets.numpy(), predictions.numpy(), average="macro", zero_division=0)
    assert macro_f1(predictions, targets) == pytest.approx(expected, abs=1e-12)


def test_perfect_and_worst_predictions():
    y = torch.tensor([0, 1, 2])
    assert accuracy(y, y) == macro_f1(y, y) == 1
    assert accuracy((y + 1) % 3, y) == macro_f1((y + 1) % 3, y) == 0
    assert cross_entropy(torch.full((3, 3), 1 / 3).log(), y) == pytest.approx(math.log(3), abs=1e-6)


def test_auroc_with_ties_agrees_with_scikit_learn():
    g = torch.Generator().manual_seed(1)
    scores = torch.randint(10, (300,), generator=g).float()
    positive = torch.rand(300, generator=g) < 0.2 + 0.05 * scores
    assert auroc(scores, positive) == pytest.approx(reference.roc_auc_score(positive.numpy(), scores.numpy()), abs=1e-12)
    assert auroc(-scores, positive) == pytest.approx(1 - auroc(scores, positive), abs=1e-12)


def test_auroc_of_one_kind_is_refused():
    with pytest.raises(ValueError, match="3 positive and 0 negative"):
        auroc(torch.arange(3.0), torch.ones(3, dtype=torch.bool))
