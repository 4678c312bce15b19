"""Every kind of label, from a source to numbers: evaluate, finetune, embed, pretrain."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from datasets import Dataset

import selfsup
from selfsup.cli.main import program
from selfsup.data import load_source
from selfsup.errors import ArtifactError, ColumnError, ConfigError, DataError
from selfsup.evaluation import FinetunedModel
from selfsup.evaluation.embedding.embed import embed
from selfsup.evaluation.evaluate import evaluate, finetune
from selfsup.registry import registry
from selfsup.testing.toy.sequences.rows import frame_rows

TUNE = {"epochs": 10, "min_steps": 0, "precision": "32", "batch_size": 32, "lr": 3e-3}
EVERY = ["knn", "linear", "few-labels"]


def numbers(n=120, seed=0):
    """Rows whose label is a number that follows from their frequency."""
    rng = np.random.default_rng(seed)
    return [{**row, "label": 1000.0 + 10 * row["label"] + float(rng.normal())} for row in frame_rows(n, seed)]


def several(n=120, seed=0):
    """Rows whose label is a list of classes."""
    names = (["slow", "odd"], ["medium"], ["fast", "odd"])
    return [{**row, "label": names[row["label"]]} for row in frame_rows(n, seed)]


def call(*arguments):
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


@pytest.fixture
def options():
    return {"few-labels": {"per_class": (3,), "shares": (0.2, 1.0), "draws": 2}, "knn": {"k": 5}}


def test_numbers_are_measured_by_r2(encoder, options):
    records = evaluate(
        encoder, Dataset.from_list(numbers()), Dataset.from_list(numbers(60, 1)), evaluators=EVERY, options=options
    )
    by_name = {record.evaluator: record.metrics for record in records}
    assert [list(by_name[name])[:3] for name in ("knn", "linear")] == [["r2", "rmse", "mae"]] * 2
    assert by_name["knn"]["r2"] > 0.5
    assert by_name["linear"]["r2"] > 0.5
    assert by_name["linear"]["rmse"] < 8, "in the unit of the labels, which spread over 20"
    of_each = ("r2@{}", "r2@{}_std", "rmse@{}", "mae@{}")
    names = [name.format(amount) for amount in ("3", "20%", "100%") for name in of_each]
    assert list(by_name["few-labels"]) == names
    assert by_name["few-labels"]["r2@100%"] == pytest.approx(by_name["linear"]["r2"], abs=0.05)
    assert records[0].details["label_kind"] == "number"
    assert "class_names" not in records[0].details


def test_several_classes_are_measured_by_map(encoder, options):
    records = evaluate(
        encoder, Dataset.from_list(several()), Dataset.from_list(several(60, 1)), evaluators=EVERY, options=options
    )
    by_name = {record.evaluator: record.metrics for record in records}
    assert [list(by_name[name])[:3] for name in ("knn", "linear")] == [["map", "micro_f1", "macro_f1"]] * 2
    assert by_name["knn"]["map"] > 0.7
    assert by_name["linear"]["map"] > 0.75
    assert list(by_name["few-labels"])[:3] == ["map@3", "map@3_std", "micro_f1@3"]
    assert records[0].details["class_names"] == ["fast", "medium", "odd", "slow"]


@pytest.mark.parametrize(("rows", "first", "least"), [(numbers, "r2", 0.5), (several, "map", 0.8)])
def test_a_fine_tuned_model_predicts_what_it_learned(encoder, tmp_path, rows, first, least):
    result = finetune(encoder, Dataset.from_list(rows()), Dataset.from_list(rows(60, 1)), options=TUNE, out=tmp_path / "tuned")
    assert result.record.headline[0] == first
    assert result.record.headline[1] > least
    loaded = FinetunedModel.load(tmp_path / "tuned")
    new = [{"sequence": row["sequence"]} for row in rows(8, 3)]
    predicted = loaded.predict(new)
    assert predicted == result.model.predict(new)
    if first == "r2":
        wanted = [row["label"] for row in rows(8, 3)]
        assert np.abs(np.array(predicted) - wanted).mean() < 8
        assert all(isinstance(value, float) for value in predicted)
    else:
        assert all(set(labels) <= {"slow", "odd", "medium", "fast"} for labels in predicted)
        hits = [sorted(labels) == sorted(row["label"]) for labels, row in zip(predicted, rows(8, 3), strict=True)]
        assert sum(hits) >= 5
    damaged = json.loads((tmp_path / "tuned" / "labels.json").read_text())
    (tmp_path / "tuned" / "labels.json").write_text(json.dumps({**damaged, "kind": "colour"}))
    with pytest.raises(ArtifactError, match="colour"):
        FinetunedModel.load(tmp_path / "tuned")


def test_a_few_steps_of_fine_tuning_do_not_shift_numbers(encoder):
    train = {"epochs": 1, "min_steps": 3, "lr": 0.02, "precision": "32", "batch_size": 40}
    result = finetune(encoder, Dataset.from_list(numbers()), Dataset.from_list(numbers(60, 1)), options=train)
    rows = [{"sequence": row["sequence"]} for row in numbers()]
    spread = np.std([row["label"] for row in numbers()])
    bias = np.mean(result.model.predict(rows)) - np.mean([row["label"] for row in numbers()])
    assert abs(bias) < 0.15 * spread, "the head's running means are those of the network that it leaves"


def test_class_weights_reach_linear_probe_and_fine_tuning(encoder):
    rows = [row for row in frame_rows(180, 0) if row["label"] or hash(row["sequence"][0][0]) % 4 == 0]
    data, test = Dataset.from_list(rows), Dataset.from_list(frame_rows(60, 1))
    for name, other in (("linear", {}), ("finetune", {**TUNE, "epochs": 1})):
        plain, balanced = (
            evaluate(encoder, data, test, evaluators=[name], options={name: {**other, "class_weight": weight}})[0].metrics
            for weight in ("none", "balanced")
        )
        assert plain != balanced
        options = {name: {**other, "class_weight": "balanced"}}
        with pytest.raises(ConfigError, match="the labels are numbers"):
            evaluate(encoder, Dataset.from_list(numbers()), evaluators=[name], options=options)


def test_what_is_not_for_this_kind_of_label_says_so_before_any_work(encoder, monkeypatch):
    data = Dataset.from_list(numbers())
    monkeypatch.setattr("selfsup.evaluation.splits.prepare", lambda *a, **k: pytest.fail("rows were decoded"))
    for name in ("clustering", "anomaly", "retrieval", "weighted-layers"):
        with pytest.raises(ConfigError, match=rf"'{name}' needs labels of one class a row, and these are numbers"):
            evaluate(encoder, data, evaluators=["knn", name])
    with pytest.raises(ConfigError, match="several classes a row"):
        evaluate(encoder, Dataset.from_list(several()), evaluators=["clustering"])


def test_options_that_numbers_have_no_use_for_are_refused(encoder):
    data = Dataset.from_list(numbers())
    with pytest.raises(ConfigError, match="label_noise"):
        evaluate(encoder, data, evaluators=["few-labels"], options={"few-labels": {"label_noise": 0.3}})
    with pytest.raises(ConfigError, match="label_smoothing"):
        finetune(encoder, data, options={**TUNE, "label_smoothing": 0.1})
    alike = Dataset.from_list([{**row, "label": 0.5} for row in numbers()])
    with pytest.raises(DataError, match=r"all 96 training rows have the label 0\.5"):
        evaluate(encoder, alike, evaluators=["knn"])


def test_options_without_effect_are_refused(encoder, tmp_path, toy):
    data, classes = Dataset.from_list(numbers()), Dataset.from_list(frame_rows(120, 0))
    with pytest.raises(ConfigError, match=r"linear\.l2 has no effect: the labels are numbers"):
        evaluate(encoder, data, evaluators=["linear"], options={"linear": {"l2": [0.1]}})
    with pytest.raises(ConfigError, match=r"linear\.ridge has no effect: the labels are classes"):
        evaluate(encoder, classes, evaluators=["linear"], options={"linear": {"ridge": [0.1]}})
    with pytest.raises(ConfigError, match="none of the evaluators needs labels"):
        evaluate(encoder, classes, evaluators=["geometry"], unlabelled=["0"])
    classes.remove_columns("label").to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ColumnError, match="no label column, so --label-kind"):
        embed(encoder, tmp_path / "none.parquet", tmp_path / "e.npy", label_kind="class")
    with pytest.raises(ConfigError, match="sequence/random-init sees no label"):
        selfsup.pretrain("sequence/random-init", classes, out=tmp_path / "run", unlabelled=["0"], progress=False)


@pytest.mark.parametrize(("gap", "told"), [(None, {}), ("", {}), ("?", {"unlabelled": ["?"]})])
def test_rows_without_a_label_are_left_out_and_counted(encoder, gap, told):
    rows = [{**row, "label": gap if i % 10 == 0 else f"c{row['label']}"} for i, row in enumerate(frame_rows(120, 0))]
    test = [{**row, "label": gap if i % 6 == 0 else f"c{row['label']}"} for i, row in enumerate(frame_rows(60, 1))]
    (record,) = evaluate(encoder, Dataset.from_list(rows), Dataset.from_list(test), evaluators=["knn"], **told)
    assert (record.n_train, record.n_test, record.details["unlabelled_rows"]) == (108, 50, 22)
    assert record.details["class_names"] == ["c0", "c1", "c2"]
    (record,) = evaluate(encoder, Dataset.from_list(rows), evaluators=["knn"], **told)
    assert record.n_train + record.n_test == 108


def test_classes_that_only_test_rows_have_are_told_and_count_as_wrong(encoder, tmp_path, toy):
    train = [row for row in frame_rows(120, 0) if row["label"] < 2]
    Dataset.from_list(train).to_parquet(tmp_path / "train.parquet")
    Dataset.from_list(frame_rows(60, 1)).to_parquet(tmp_path / "test.parquet")
    encoder.save(tmp_path / "encoder")
    arguments = (
        "--data",
        tmp_path / "train.parquet",
        "--test",
        tmp_path / "test.parquet",
        "--evaluators",
        "knn,linear,finetune",
    )
    result = call("evaluate", tmp_path / "encoder", *arguments, "--set", "finetune.epochs=1", "--json")
    assert result.exit_code == 0, result.output
    assert "1 class of the test rows ('2'; 20 of 60 rows) is not among the training rows" in " ".join(result.stderr.split())
    for record in json.loads(result.stdout):
        assert 0.3 < record["metrics"]["accuracy"] <= 40 / 60
        assert math.isfinite(record["metrics"]["cross_entropy"])
        assert record["details"]["class_names"] == ["0", "1", "2"]
    lists = [{**row, "label": [f"c{row['label']}"]} for row in train]
    others = [{**row, "label": [f"c{row['label']}"]} for row in frame_rows(60, 1)]
    (record,) = evaluate(encoder, Dataset.from_list(lists), Dataset.from_list(others), evaluators=["linear"])
    assert record.details["class_names"] == ["c0", "c1", "c2"]
    assert record.metrics["map"] < 0.9


def test_the_command_line_says_what_the_labels_are_and_takes_another_view(encoder, tmp_path, toy):
    rows = [{**row, "label": 7 * i % 31} for i, row in enumerate(frame_rows(124, 0))]
    Dataset.from_list(rows).to_parquet(tmp_path / "t.parquet")
    encoder.save(tmp_path / "encoder")
    found = call("evaluate", tmp_path / "encoder", "--data", tmp_path / "t.parquet", "--evaluators", "knn")
    assert "label: column 'label'; 31 classes" in " ".join(found.stderr.split())
    assert "--label-kind number" in found.stderr
    told = call(
        "evaluate", tmp_path / "encoder", "--data", tmp_path / "t.parquet", "--evaluators", "knn", "--label-kind", "number",
        "--unlabelled", "7", "--json",
    )  # fmt: skip
    (record,) = json.loads(told.stdout)
    assert list(record["metrics"]) == ["r2", "rmse", "mae"]
    assert record["n_train"] + record["n_test"] == 120
    assert "4 of the 124 rows" in " ".join(told.stderr.split())


def test_embedding_files_hold_labels_of_every_kind(encoder, tmp_path):
    for made, told, shown in (
        ([{**row, "label": None if i == 2 else row["label"]} for i, row in enumerate(numbers(6))], {}, None),
        ([{**row, "label": None if i == 2 else row["label"]} for i, row in enumerate(several(6))], {}, None),
        ([{**row, "label": "a"} for row in frame_rows(6, 0)], {}, None),
        ([{**row, "label": i - 1} for i, row in enumerate(frame_rows(6, 0))], {"unlabelled": ["-1"]}, [None, *"01234"]),
    ):
        embed(encoder, Dataset.from_list(made), tmp_path / "e.parquet", **told)
        column = pq.read_table(tmp_path / "e.parquet")["label"].to_pylist()
        wanted = shown or [sorted(row["label"]) if isinstance(row["label"], list) else row["label"] for row in made]
        assert column == wanted


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "metric"), [(numbers, "r2"), (several, "micro_f1")])
def test_the_supervised_reference_learns_every_kind(toy, tmp_path, rows, metric):
    made = rows()
    made[5]["label"] = None
    Dataset.from_list(made).to_parquet(tmp_path / "t.parquet")
    run = selfsup.pretrain(
        "sequence/supervised",
        tmp_path / "t.parquet",
        out=tmp_path / "run",
        holdout=0.2,
        val=str(tmp_path / "t.parquet"),
        steps=200,
        batch_size=32,
        lr=3e-2,
        precision="32",
        progress=False,
        overrides={"log_every": 2, "probe_every": 20},
    )
    lines = [line for line in run.metrics if "loss" in line]
    first, last = ([np.mean([line[name] for line in part]) for name in ("loss", metric)] for part in (lines[:4], lines[-4:]))
    assert last[0] < 0.8 * first[0]
    assert last[1] > max(first[1], 0.2)
    probe = {"r2": "probe_r2", "micro_f1": "probe_map"}[metric]
    best = selfsup.load(run.dir, checkpoint="best")
    assert best.metadata[probe] == max(line[probe] for line in run.metrics if probe in line)
    (record,) = evaluate(run.dir, tmp_path / "t.parquet", evaluators=["linear"])
    assert record.headline[1] > 0.05, "better than the mean, or than one class for all"
    assert (record.pretrained_share, record.details["unlabelled_rows"]) == (0.0, 1)
    assert "held out" in record.details["test_rows"]


def test_supervised_labels_that_are_alike_are_refused(toy, tmp_path):
    Dataset.from_list([{**row, "label": 1.5} for row in numbers()]).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"labels of .* are equal"):
        selfsup.pretrain("sequence/supervised", tmp_path / "t.parquet", out=tmp_path / "run", steps=1, progress=False)


def test_what_is_said_of_labels_goes_with_the_rows(toy):
    modality = registry().get("modality", "sequence")
    rows = load_source(Dataset.from_list(several(9)), modality=modality, needs_label=True)
    assert load_source(rows, modality=modality) is rows
    with pytest.raises(ColumnError, match="holds lists"):
        load_source(rows, modality=modality, label_kind="number").labels()
    assert load_source(rows, modality=modality, unlabelled=["medium"]).labelled().class_names == ("fast", "odd", "slow")
