"""Scores with few labels a class: which rows are drawn, what each test row adds, and what is trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from selfsup.cli.main import program
from selfsup.errors import ConfigError
from selfsup.evaluation import Split
from selfsup.evaluation.evaluators.few_labels import FewLabels, FewLabelsConfig, LabelDraws, amount_name, few_label_draws
from selfsup.evaluation.evaluators.finetune import FinetuneConfig, finetune_encoder, score
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.maths.metrics import label_metrics, row_scores
from selfsup.evaluation.subsets import expected_overlap, few_label_rows, flipped_labels

SHARED = ((0, 5), (0, 2), (2, 3))
"""First draw and number of draws: all five, and the five in two parts."""
SHOWN = (("accuracy", ""), ("accuracy", "_std"), ("macro_f1", ""))
TUNE = {"epochs": 4, "min_steps": 0, "precision": "32", "batch_size": 16, "lr": 3e-3}


def few(encoder, splits, seed=0, **options):
    return FewLabels(FewLabelsConfig(**options)).evaluate(encoder, *splits, seed=seed)


# --- which rows are drawn


def test_so_many_rows_of_each_class_are_drawn():
    labels = np.repeat(np.arange(4), [100, 50, 20, 3]).astype(np.int64)
    rows = few_label_rows(labels, 10, draw=0)
    assert np.bincount(labels[rows]).tolist() == [10, 10, 10, 3], "a small class gives all of its rows"
    assert np.array_equal(rows, np.unique(rows))


def test_fewer_labels_are_among_more_of_the_same_draw():
    labels = np.random.default_rng(0).integers(0, 5, 400)
    for draw in range(3):
        drawn = [set(few_label_rows(labels, count, draw=draw)) for count in (1, 5, 20)]
        assert drawn[0] < drawn[1] < drawn[2]
    assert len({tuple(few_label_rows(labels, 5, draw=draw)) for draw in range(10)}) == 10


def test_draws_take_every_row_as_often():
    labels = np.repeat([0, 1], 20).astype(np.int64)
    drawn = np.bincount(np.concatenate([few_label_rows(labels, 5, draw=draw) for draw in range(2000)]), minlength=40)
    assert abs(drawn / 2000 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_draws_share_as_many_rows_as_is_expected():
    labels = np.repeat(np.arange(3), [100, 20, 5]).astype(np.int64)
    drawn = [few_label_rows(labels, 10, draw=draw) for draw in range(60)]
    assert expected_overlap(labels, drawn[0]) == pytest.approx((10 * 0.1 + 10 * 0.5 + 5) / 25)
    shared = [len(np.intersect1d(one, other)) / 25 for place, one in enumerate(drawn) for other in drawn[:place]]
    assert np.mean(shared) == pytest.approx(expected_overlap(labels, drawn[0]), abs=0.01)
    numbers = np.random.default_rng(0).random(30)
    assert expected_overlap(numbers, few_label_rows(numbers, 2, draw=0)) == pytest.approx(2 / 5)
    assert expected_overlap(labels, np.arange(125)) == 1


def test_of_numbers_so_many_of_each_tenth_and_of_several_classes_so_many_for_each():
    numbers = np.random.default_rng(0).permutation(200).astype(np.float64)
    rows = few_label_rows(numbers, 3, draw=0)
    assert np.bincount((numbers[rows] // 20).astype(int)).tolist() == [3] * 10
    several = np.random.default_rng(0).random((200, 4)) < 0.3
    assert len(few_label_rows(several, 10, draw=0, n_classes=4)) == 40
    assert len(few_label_rows(several[:30], 10, draw=0, n_classes=4)) == 30


# --- what each test row adds


@pytest.mark.parametrize("n_classes", [2, 5])
def test_scores_of_rows_have_the_metric_as_their_mean(n_classes):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(400, n_classes, generator=generator).log_softmax(1)
    targets = torch.multinomial(torch.arange(1.0, n_classes + 1), 400, replacement=True, generator=generator)
    metrics, rows = label_metrics("class", outputs, targets), row_scores("class", outputs, targets)
    assert set(rows) == {"accuracy", "balanced_accuracy"}
    for name, values in rows.items():
        assert float(values.mean()) == pytest.approx(metrics[name], abs=1e-12)
    assert metrics["accuracy"] != pytest.approx(metrics["balanced_accuracy"], abs=1e-4)


def test_balanced_scores_of_rows_pass_over_classes_without_a_test_row():
    outputs = torch.eye(3)[[0, 0, 2, 2, 1]].log()  # a row is told to be of a class that no test row has
    targets = torch.tensor([0, 0, 2, 0, 2])
    metric = label_metrics("class", outputs, targets)["balanced_accuracy"]
    assert float(row_scores("class", outputs, targets)["balanced_accuracy"].mean()) == pytest.approx(metric, abs=1e-12)


def test_scores_of_rows_of_numbers_and_of_several_classes():
    generator = torch.Generator().manual_seed(0)
    guess, truth = torch.randn(2, 300, generator=generator, dtype=torch.float64)
    values = row_scores("number", guess, truth)["r2"]
    assert float(values.mean()) == pytest.approx(label_metrics("number", guess, truth)["r2"], abs=1e-12)
    assert row_scores("number", guess, torch.ones(300)) == {}, "R² has no rows where numbers do not vary"
    assert row_scores("classes", torch.randn(9, 3, generator=generator), torch.ones(9, 3)) == {}, "mAP is no mean over rows"


# --- the evaluator


def test_a_score_is_the_mean_over_draws_of_probes_on_the_rows_that_are_drawn(encoder, splits):
    train, test = splits
    metrics = few(encoder, splits, per_class=[4], draws=3)
    each = []
    for draw in range(3):
        rows = torch.from_numpy(few_label_rows(train.labels, 4, draw=draw))
        known, targets = train.embeddings(encoder)[rows], train.targets()[rows]
        probe = fit_probe(known, targets, 3, LinearConfig(), seed=draw, names=train.class_names)
        each.append(label_metrics("class", probe.outputs(test.embeddings(encoder)), test.targets())["accuracy"])
    assert len(set(each)) > 1
    assert metrics["accuracy@4"] == pytest.approx(np.mean(each))
    assert metrics["accuracy@4_std"] == pytest.approx(np.std(each, ddof=1))
    assert "accuracy@4_std" not in few(encoder, splits, per_class=[4], draws=1)


def test_draws_can_be_shared_out(encoder, splits):
    evaluators = [FewLabels(FewLabelsConfig(per_class=(4,), first_draw=first, draws=n)) for first, n in SHARED]
    whole, *parts = (evaluator.measure(encoder, *splits, seed=seed)[0] for seed, evaluator in enumerate(evaluators))
    assert [scores["accuracy"] for part in parts for scores in part.metrics] == [s["accuracy"] for s in whole.metrics]
    together = sum(len(part.metrics) * part.rows["accuracy"] for part in parts) / 5
    assert np.allclose(together, whole.rows["accuracy"], atol=1e-12)
    assert whole.rows["accuracy"].shape == (128,)
    assert whole.rows["accuracy"].mean() == pytest.approx(whole.mean("accuracy"), abs=1e-12)


def test_all_weights_are_trained_on_the_rows_that_are_drawn(encoder, splits):
    train, test = splits
    options = {"per_class": [4], "draws": 1, "first_draw": 2, "method": "finetune", "finetune": TUNE}
    rows = few_label_rows(train.labels, 4, draw=2)
    model = finetune_encoder(encoder, train, FinetuneConfig(**TUNE), seed=3002, rows=rows)
    assert few(encoder, splits, seed=3, **options)["accuracy@4"] == score(model, test)["accuracy"]
    assert few(encoder, splits, seed=3, **options) != few(encoder, splits, seed=4, **options)


def test_only_the_rows_that_are_given_are_trained_on(encoder, splits, monkeypatch):
    train, _ = splits
    rows = few_label_rows(train.labels, 4, draw=0)
    wrong = train.labels.copy()
    others = np.setdiff1d(np.arange(len(wrong)), rows)
    wrong[others] = (wrong[others] + 1) % 3
    outputs = [
        finetune_encoder(encoder, replace(train, labels=labels), FinetuneConfig(**TUNE), seed=0, rows=rows).head.linear.weight
        for labels in (train.labels, wrong)
    ]
    assert torch.equal(*outputs)


def test_options_of_the_augmentation_reach_the_views(encoder, splits):
    train, _ = splits
    rows = few_label_rows(train.labels, 8, draw=0)
    heads = [
        finetune_encoder(encoder, train, FinetuneConfig(**TUNE, **more), seed=0, rows=rows).head.linear.weight
        for more in ({}, {"views": {"noise": 0.9}}, {"augment": False})
    ]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])
    with pytest.raises(ConfigError, match=r"finetune\.views.*hue"):
        finetune_encoder(encoder, train, FinetuneConfig(**TUNE, views={"hue": 1}), seed=0, rows=rows)


@pytest.mark.parametrize("method", ["linear", "finetune"])
def test_wrong_labels_are_trained_on_and_the_right_ones_tested(method, encoder, splits):
    train, test = splits
    options = {"per_class": [], "shares": [0.25], "draws": 1, "method": method}
    options |= {"finetune": TUNE} if method == "finetune" else {}
    clean, noisy = few(encoder, splits, **options), few(encoder, splits, **options, label_noise=0.3)
    assert noisy != clean
    by_hand = replace(train, labels=flipped_labels(train.labels, 0.3, seed=0))
    assert noisy == few(encoder, (by_hand, test), **options)
    with pytest.raises(ValueError, match="label_noise"):
        FewLabelsConfig(label_noise=1.0)


def test_shares_that_hold_too_few_rows_are_left_out(encoder, splits, caplog):
    metrics = few(encoder, splits, per_class=[], shares=[0.005, 0.1], draws=1)
    assert {name.partition("@")[2] for name in metrics} == {"10%"}
    assert "leaves out 0.5 % of the labels" in caplog.text
    with pytest.raises(ConfigError, match=r"fraction=0.005 of 256 labelled rows is 1"):
        few(encoder, splits, per_class=[], shares=[0.005])
    assert next(iter(few(encoder, splits, per_class=[2], shares=[0.005], draws=1))) == "accuracy@2"


def test_something_has_to_be_measured():
    with pytest.raises(ValueError, match="per_class and shares are both empty"):
        FewLabelsConfig(per_class=())
    assert [amount_name(amount) for amount in (10, 0.05, 0.005, 1.0)] == ["10", "5%", "0.5%", "100%"]


def test_small_classes_are_told(encoder, splits, caplog):
    few(encoder, splits, per_class=[100], draws=1)
    assert "3 classes have fewer than 100 labelled rows (class 0, class 1, class 2); they give all of theirs" in caplog.text


def test_a_prediction_can_stand_in_for_the_probe():
    labels = np.arange(40) % 2
    test = Split(store=None, labels=np.arange(10) % 2)
    seen = []

    def predict(train, rows, draw):
        seen.append((len(rows), draw, np.array_equal(train.labels, labels)))
        return torch.tensor([[0.0, -1.0]]).expand(10, 2)

    drawn = few_label_draws(Split(store=None, labels=labels), test, predict, amount=3, draws=(4, 5), n_classes=2)
    assert isinstance(drawn, LabelDraws)
    assert (drawn.labelled, drawn.pool, drawn.overlap) == (6, 40, pytest.approx(6 / 40))
    assert (seen, drawn.amount, drawn.mean("accuracy")) == ([(6, 4, True), (6, 5, True)], "3", 0.5)
    assert drawn.rows["accuracy"].tolist() == [1.0, 0.0] * 5


def test_the_command_prints_the_headline_with_its_deviation(encoder, tmp_path):
    encoder.save(tmp_path / "encoder")
    result = CliRunner().invoke(
        program, ["evaluate", str(tmp_path / "encoder"), "--data", "toy-frames", "--evaluators", "few-labels"]
    )
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines[1:4]] == [["few-labels", f"{name}@10{end}"] for name, end in SHOWN]
    assert 0.4 < float(lines[1][2]) < 1
