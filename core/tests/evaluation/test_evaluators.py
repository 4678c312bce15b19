"""What holds for every evaluator."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup.errors import ColumnError, ConfigError, DataError
from selfsup.registry import registry
from selfsup.registry.builtin.evaluators import SPECS

QUICK = {
    "finetune": {"epochs": 10, "min_steps": 0, "precision": "32"},
    "few-labels": {"per_class": [4, 8], "draws": 3},
    "clustering": {"n_init": 2},
    "weighted-layers": {"l2": [0.1, 0.01], "iterations": 20},
}
HEADLINES = {
    "knn": "accuracy",
    "linear": "accuracy",
    "finetune": "accuracy",
    "few-labels": "accuracy@4",
    "clustering": "accuracy",
    "anomaly": "auroc",
    "retrieval": "map",
    "geometry": "rankme",
    "weighted-layers": "accuracy",
}
LABELLED = [spec.id for spec in SPECS if spec.needs_labels]


def build(id, **options):
    recipe = registry().load(registry().get("evaluator", id))
    return recipe.build(recipe.config(**{**QUICK.get(id, {}), **options}))


def test_all_evaluators_are_registered():
    assert set(HEADLINES) == {spec.id for spec in SPECS} <= set(registry().evaluators)


@pytest.fixture
def suited(id, encoder, token_encoder):
    """An encoder that the evaluator ``id`` can measure."""
    return token_encoder if id == "weighted-layers" else encoder


@pytest.mark.parametrize("id", list(HEADLINES))
def test_the_same_seed_gives_the_same_finite_numbers(id, suited, splits):
    encoder, (train, test) = suited, splits
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    first = build(id).evaluate(encoder, train, test, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == build(id).evaluate(encoder, train, test, seed=3)
    assert next(iter(first)) == HEADLINES[id]
    assert all(type(value) is float and np.isfinite(value) for value in first.values())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert not encoder.training


@pytest.mark.parametrize("id", list(HEADLINES))
def test_better_than_chance_on_learnable_rows(id, suited, splits):
    # Three frequencies in three equal classes: random convolutions separate them in part, a random transformer less.
    least = {"anomaly": 0.55, "retrieval": 0.36, "clustering": 0.36, "geometry": 1.5, "weighted-layers": 0.36}
    value = next(iter(build(id).evaluate(suited, *splits, seed=0).values()))
    assert value > least.get(id, 0.45)


@pytest.mark.parametrize("id", LABELLED)
def test_rows_without_labels_are_refused(id, encoder, splits):
    train, test = splits
    with pytest.raises(ColumnError, match=rf"'{id}' needs labels.*--label.*geometry"):
        build(id).evaluate(encoder, replace(train, labels=None), replace(test, labels=None), seed=0)


@pytest.mark.parametrize("id", LABELLED)
def test_rows_of_one_class_are_refused(id, encoder, splits):
    one = [replace(split, labels=np.ones_like(split.labels)) for split in splits]
    with pytest.raises(DataError, match=r"at least two classes, and all \d+ .*class 'class 1'"):
        build(id).evaluate(encoder, *one, seed=0)


def test_geometry_needs_no_labels(encoder, splits):
    train, test = (replace(split, labels=None, class_names=()) for split in splits)
    metrics = build("geometry", rows=100, view_rows=50).evaluate(encoder, train, test, seed=0)
    assert set(metrics) == {"rankme", "effective_dimension", "uniformity", "std", "alignment"}
    assert 1 <= metrics["rankme"] <= 32
    assert 0 < metrics["alignment"] < 4


def test_geometry_of_a_modality_without_views_leaves_alignment_out(encoder, splits, monkeypatch):
    spec = replace(registry().get("modality", "sequence"), views="")
    monkeypatch.setitem(registry().modalities, "sequence", spec)
    assert "alignment" not in build("geometry").evaluate(encoder, *splits, seed=0)


def test_embeddings_are_computed_once_for_all_evaluators(encoder, splits, monkeypatch):
    calls = []
    real = type(encoder).embed_store
    monkeypatch.setattr(type(encoder), "embed_store", lambda self, store, **kw: calls.append(store) or real(self, store, **kw))
    train, test = (replace(split, _embeddings={}) for split in splits)
    for id in ("knn", "linear", "clustering", "retrieval"):
        build(id).evaluate(encoder, train, test, seed=0)
    assert sorted(len(store) for store in calls) == [128, 256]


def test_anomaly_of_one_class_is_one_term_of_the_mean(encoder, splits):
    each = [build("anomaly", normal=f"class {c}").evaluate(encoder, *splits, seed=0)["auroc"] for c in range(3)]
    metrics = build("anomaly").evaluate(encoder, *splits, seed=0)
    assert metrics["auroc"] == pytest.approx(sum(each) / 3)
    assert metrics["auroc_worst_class"] == min(each)


def test_anomaly_takes_normal_rows_of_one_class_only(encoder, splits):
    train, test = splits
    rows = np.flatnonzero(train.labels == 1)
    normal = replace(train, labels=np.ones(len(rows), dtype=np.int64))
    normal._embeddings = {encoder.digest(): train.embeddings(encoder)[torch.from_numpy(rows)]}
    alone = build("anomaly").evaluate(encoder, normal, test, seed=0)["auroc"]
    assert alone == pytest.approx(build("anomaly", normal="class 1").evaluate(encoder, train, test, seed=0)["auroc"])


def test_anomaly_of_an_unknown_class_is_refused(encoder, splits):
    with pytest.raises(ConfigError, match=r"anomaly.normal='cat' is no class.*class 0, class 1, class 2"):
        build("anomaly", normal="cat").evaluate(encoder, *splits, seed=0)


def test_retrieval_leaves_out_queries_of_unknown_classes(encoder, splits):
    train, test = splits
    train = replace(train, labels=np.where(train.labels == 2, 1, train.labels))
    only_two = replace(test, labels=np.full_like(test.labels, 2))
    with pytest.raises(DataError, match="no test row of a class that is among the training rows"):
        build("retrieval").evaluate(encoder, train, only_two, seed=0)
    assert build("retrieval").evaluate(encoder, train, test, seed=0)["map"] > 0.3


def test_more_clusters_than_rows_are_refused(encoder, splits):
    with pytest.raises(ConfigError, match=r"n_clusters=1000 is more than the 128 test rows"):
        build("clustering", n_clusters=1000).evaluate(encoder, *splits, seed=0)
