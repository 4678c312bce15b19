"""The scikit-learn face."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import selfsup
import selfsup_tabular
from selfsup.errors import ConfigError, PretrainedRowsWarning
from selfsup_tabular import SelfSupervisedFeatures

SMALL = {"backbone.dim": 16, "backbone.depth": 1}
QUICK = {"steps": 3, "random_state": 0, "options": SMALL}


def mixed(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "amount": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "label": rng.choice(["red", "green", "blue"], size=n),
            "kind": pd.Categorical(rng.choice(["a", "b"], size=n)),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, size=n), unit="D"),
            "flag": rng.random(n) < 0.5,
        }
    )


@parametrize_with_checks([SelfSupervisedFeatures(steps=1, options={"backbone.dim": 8, "backbone.depth": 1})])
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # scikit-learn's own checks warn of what they try
        check(estimator)


def test_a_frame_with_texts_dates_and_missing_values():
    frame = mixed()
    features = SelfSupervisedFeatures("tabular/vime", **QUICK).fit(frame)
    embedded = features.transform(frame)
    assert embedded.shape == (60, 16)
    assert embedded.dtype == np.float32
    assert np.isfinite(embedded).all()
    # A column called "label" is a column like any other here.
    assert features.encoder_.processor.info()["category_columns"] == ["label", "kind", "flag"]
    assert list(features.feature_names_in_) == list(frame.columns)
    other = frame.assign(label="red")
    assert (features.transform(other) != embedded).any()


def test_pandas_and_polars_give_the_same():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    frame = mixed()
    of_pandas = SelfSupervisedFeatures(**QUICK).fit_transform(frame)
    of_polars = SelfSupervisedFeatures(**QUICK).fit_transform(pl.from_pandas(frame))
    np.testing.assert_allclose(of_pandas, of_polars, atol=1e-6)


def test_an_array_of_objects_has_numbers_and_texts():
    array = np.array([[1.5, "a"], [2.5, "b"], [None, "a"], [0.5, None]] * 5, dtype=object)
    info = SelfSupervisedFeatures(**QUICK).fit(array).encoder_.processor.info()
    assert (info["numeric_columns"], info["category_columns"]) == (["x0"], ["x1"])


def test_training_and_embedding_agree_with_the_core():
    frame = mixed()
    features = SelfSupervisedFeatures(**QUICK).fit(frame)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    np.testing.assert_allclose(features.transform(frame), features.encoder_.embed(rows), atol=1e-6)


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    SelfSupervisedFeatures(**QUICK).fit(mixed())
    assert list(tmp_path.iterdir()) == []


def test_the_random_state_decides():
    frame = mixed()
    states = ({**QUICK, "random_state": seed} for seed in (0, 0, 1))
    first, second, other = (SelfSupervisedFeatures(**options).fit_transform(frame) for options in states)
    np.testing.assert_array_equal(first, second)
    assert (other != first).any()


def test_in_a_grid_search_over_a_pipeline():
    X, y = load_iris(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(SelfSupervisedFeatures(**QUICK), LogisticRegression(max_iter=500))
    grid = {
        "selfsupervisedfeatures__task": ["tabular/scarf", "tabular/vime"],
        "selfsupervisedfeatures__lr": [1e-3],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.6
    names = search.best_estimator_[0].get_feature_names_out()
    assert list(names[:2]) == ["selfsupervisedfeatures0", "selfsupervisedfeatures1"]


def test_parameters_survive_a_clone_and_reach_the_run():
    features = SelfSupervisedFeatures(
        "tabular/vime", backbone="tabular-resnet", epochs=2, batch_size=10, lr=0.01, options={"rate": 0.5}, random_state=3
    )
    copied = clone(features)
    assert copied.get_params() == features.get_params()
    encoder = copied.fit(mixed()).encoder_
    assert encoder.backbone_id == "tabular-resnet"
    assert (encoder.metadata["batch_size"], encoder.metadata["of_steps"]) == (10, 12)


def test_tasks_with_labels_take_them_from_y():
    frame = mixed()
    y = np.where(frame["flag"], "yes", "no")
    options = {"steps": 40, "lr": 1e-2, "random_state": 0, "options": SMALL}
    features = SelfSupervisedFeatures("tabular/supervised", **options).fit(frame, y)
    assert list(features.classes_) == ["no", "yes"]
    probe = LogisticRegression(max_iter=500).fit(features.transform(frame), y)
    assert probe.score(features.transform(frame), y) > 0.9
    with pytest.raises(ValueError, match=r"needs labels.*fit\(X, y\)"):
        SelfSupervisedFeatures("tabular/supervised", **options).fit(frame)
    with pytest.raises(ValueError, match="X has 60 rows, but y has 59"):
        SelfSupervisedFeatures("tabular/supervised", **options).fit(frame, y[1:])


@pytest.mark.parametrize("kind", ["number", "classes"])
def test_y_may_be_numbers_or_several_classes(kind):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 4))
    y = 100 + 5 * x[:, 0] - 3 * x[:, 1] if kind == "number" else np.stack([x[:, 0] > 0, x[:, 1] > 0.5], axis=1).astype(int)
    features = SelfSupervisedFeatures("tabular/supervised", steps=40, lr=1e-2, random_state=0, options=SMALL).fit(x, y)
    embedded = features.transform(x)
    if kind == "number":
        assert not hasattr(features, "classes_")
        assert LinearRegression().fit(embedded[:80], y[:80]).score(embedded[80:], y[80:]) > 0.7
    else:
        assert list(features.classes_) == [0, 1]
        for k in range(2):
            assert LogisticRegression(max_iter=500).fit(embedded[:80], y[:80, k]).score(embedded[80:], y[80:, k]) > 0.8


def test_mistakes_are_named():
    frame = mixed()
    with pytest.raises(ConfigError, match="temperatur"):
        SelfSupervisedFeatures(**{**QUICK, "options": {"objective.temperatur": 1}}).fit(frame)
    with pytest.raises(ValueError, match="at least two rows"):
        SelfSupervisedFeatures(**QUICK).fit(frame[:1])
    fitted = SelfSupervisedFeatures(**QUICK, batch_size=1000).fit(frame)
    assert fitted.encoder_.metadata["batch_size"] == len(frame)
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform(frame.rename(columns={"day": "night"}))
    with pytest.raises(AttributeError, match="no attribute 'Features'"):
        selfsup_tabular.Features  # noqa: B018  # looked up, and not there


def test_the_encoder_knows_the_rows_of_fit_and_leaves_out_what_it_is_told(tmp_path):
    frame = mixed(200).drop(columns="label")
    table = frame.assign(target=np.where(frame["flag"], "yes", "no"))
    features = SelfSupervisedFeatures("tabular/vime", **QUICK).fit(frame[:100])
    with pytest.warns(PretrainedRowsWarning, match="were pretrained on"):
        (seen,) = selfsup.evaluate(features.encoder_, table[100:], table[50:150].iloc[::-1], label="target", evaluators=["knn"])
    (new,) = selfsup.evaluate(features.encoder_, table[:100], table[100:], label="target", evaluators=["knn"])
    assert (seen.pretrained_share, new.pretrained_share) == (0.5, 0.0)
    options = {**QUICK["options"], "holdout": 0.3}
    part = SelfSupervisedFeatures("tabular/vime", batch_size=256, **{**QUICK, "options": options}).fit(frame)
    (record,) = selfsup.evaluate(part.encoder_, table, label="target", evaluators=["knn"])
    assert record.n_test == part.encoder_.metadata["held_out"] == 200 - record.n_train
    assert record.pretrained_share == 0.0
