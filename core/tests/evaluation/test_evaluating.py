"""The Python face: ``selfsup.evaluate``, ``selfsup.finetune``, ``selfsup.embed``."""

import csv
import datetime
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

import selfsup
from selfsup.artifacts import ResultRecord, RunDirectory
from selfsup.errors import (
    ColumnError,
    ConfigError,
    DataError,
    DataWarning,
    InUseError,
    StorageError,
    TooManyBadRowsError,
    UnknownIdError,
)
from selfsup.evaluation.embedding.embed import embed
from selfsup.evaluation.evaluate import evaluate, finetune
from selfsup.runtime.file_lock import lock_folder
from selfsup.testing.toy.sequences.rows import frame_rows

TUNE = {"epochs": 1, "min_steps": 0, "precision": "32"}


@pytest.fixture
def run(encoder, tmp_path):
    run = RunDirectory.create(tmp_path / "run", task="sequence/random-init", config={})
    encoder.save(run.encoder)
    run.update(status="done")
    return run


def _dataset(n=60, seed=0):
    return Dataset.from_list(frame_rows(n, seed))


def test_a_registered_data_set_is_measured_on_its_test_split(encoder):
    records = evaluate(encoder, "toy-frames", evaluators=["knn", "geometry"], options={"knn": {"k": 3}})
    assert [record.evaluator for record in records] == ["knn", "geometry"]
    knn = records[0]
    assert (knn.n_train, knn.n_test, knn.dataset) == (256, 128, "toy-frames")
    assert knn.options == {"k": 3, "tau": 0.07}
    assert knn.details["test_rows"] == "toy-frames (test)"
    assert knn.details["class_names"] == ["class 0", "class 1", "class 2"]
    assert knn.encoder == encoder.digest()
    assert knn.headline[0] == "accuracy"
    assert knn.metrics["accuracy"] > 0.4


def test_the_same_seed_gives_the_same_records(encoder):
    first, second = (
        [record.metrics for record in evaluate(encoder, _dataset(), evaluators=["knn", "linear", "clustering"], seed=4)]
        for _ in range(2)
    )
    assert first == second


def test_nobody_fine_tunes_into_a_folder_that_another_process_writes(encoder, tmp_path):
    with lock_folder(tmp_path / "tuned", "fine-tuning"), pytest.raises(InUseError, match=r"tuned is in use by .*fine-tuning"):
        finetune(encoder, "toy-frames", out=tmp_path / "tuned")
    options = {"epochs": 1, "min_steps": 0}
    finetune(encoder, "toy-frames", fraction=0.2, options=options, out=tmp_path / "tuned")
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


def test_test_rows_may_come_from_another_source(encoder, tmp_path):
    _dataset(30, seed=5).to_parquet(tmp_path / "other.parquet")
    (record,) = evaluate(encoder, _dataset(60), tmp_path / "other.parquet", evaluators=["knn"])
    assert (record.n_train, record.n_test) == (60, 30)
    (same_test,) = evaluate(encoder, _dataset(60), _dataset(30, seed=5), evaluators=["knn"])
    assert same_test.metrics == record.metrics


def test_class_ids_of_test_rows_are_those_of_the_training_rows(encoder):
    # The test rows hold two of three classes, which would be numbered 0 and 1 by themselves.
    rows = frame_rows(120, 0)
    for row in rows:
        row["label"] = ["slow", "medium", "fast"][row["label"]]
    train, test = rows[:90], [row for row in rows[90:] if row["label"] != "fast"]
    (record,) = evaluate(encoder, Dataset.from_list(train), Dataset.from_list(test), evaluators=["linear"])
    assert record.details["class_names"] == ["fast", "medium", "slow"]
    assert record.metrics["accuracy"] > 0.5


def test_the_training_rows_are_no_test_rows(encoder):
    with pytest.raises(DataError, match="are the training rows"):
        evaluate(encoder, "toy-frames:train", "toy-frames:train", evaluators=["knn"])


def test_a_run_gets_its_records(run):
    records = evaluate(run.path, "toy-frames", evaluators=["knn"])
    (file,) = run.results.glob("*.json")
    assert ResultRecord.read(file) == records[0]
    evaluate(str(run.path), "toy-frames", evaluators=["knn"])
    assert len(list(run.results.glob("*.json"))) == 1
    evaluate(run.path, "toy-frames", evaluators=["knn"], seed=1)
    assert len(list(run.results.glob("*.json"))) == 2


def test_records_go_where_they_are_told_to(run, tmp_path):
    evaluate(run.path, "toy-frames", evaluators=["knn"], out=tmp_path / "here")
    assert len(list((tmp_path / "here").glob("knn-*.json"))) == 1
    assert not run.results.exists()


def test_unlabelled_rows_have_a_geometry_and_no_accuracy(encoder):
    unlabelled = _dataset().remove_columns("label")
    (record,) = evaluate(encoder, unlabelled, evaluators=["geometry"])
    assert record.metrics["rankme"] > 1
    assert "class_names" not in record.details
    with pytest.raises(ColumnError, match="label"):
        evaluate(encoder, unlabelled, evaluators=["geometry", "knn"])


def test_a_label_column_of_dates_is_no_label(encoder, tmp_path):
    days = [datetime.date(2024, 1, 1 + row["label"]) for row in _dataset()]
    dated = _dataset().remove_columns("label").add_column("label", days)
    (record,) = evaluate(encoder, dated, evaluators=["geometry"])
    assert record.metrics["rankme"] > 1
    embed(encoder, dated, tmp_path / "e.parquet")
    assert pq.read_table(tmp_path / "e.parquet").column_names == ["row", "embedding"]
    for call in (lambda: evaluate(encoder, dated), lambda: embed(encoder, dated, tmp_path / "e.parquet", label="label")):
        with pytest.raises(ColumnError, match="of type date32; labels are texts, numbers"):
            call()


def test_a_label_column_that_is_missing_is_named(encoder):
    with pytest.raises(ColumnError, match="'species'"):
        evaluate(encoder, _dataset(), evaluators=["knn"], label="species")


def test_bad_rows_are_left_out_within_the_limit(encoder):
    rows = frame_rows(60, 0)
    rows[4]["sequence"] = []
    with pytest.warns(DataWarning, match="1 of the 60 training rows are left out: row 4: "):
        (record,) = evaluate(encoder, Dataset.from_list(rows), _dataset(30, seed=1), evaluators=["knn"], max_bad_rows=0.02)
    assert (record.n_train, record.n_test, record.details["bad_rows"]) == (59, 30, 1)
    with pytest.raises(TooManyBadRowsError):
        evaluate(encoder, Dataset.from_list(rows), _dataset(30, seed=1), evaluators=["knn"], max_bad_rows=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"evaluators": ["knm"]}, UnknownIdError, "knn"),
        ({"evaluators": []}, ConfigError, "give a list of ids"),
        ({"evaluators": ["knn", "knn"]}, ConfigError, "knn more than once"),
        ({"evaluators": ["knn"], "options": {"linear": {}}}, ConfigError, "options for linear, and the evaluators are knn"),
        ({"evaluators": ["knn"], "options": {"knn": {"kk": 1}}}, ConfigError, "no option 'kk'.*'k'"),
        ({"evaluators": ["knn"], "options": {"knn": {"k": 0}}}, ConfigError, "k = 0 is not allowed"),
    ],
)
def test_wrong_calls_are_refused(encoder, arguments, error, message):
    with pytest.raises(error, match=message):
        evaluate(encoder, "toy-frames", **arguments)


def test_finetune_gives_a_classifier_and_a_record(run, tmp_path):
    result = finetune(run.path, "toy-frames", fraction=0.1, options=TUNE, out=tmp_path / "tuned")
    assert result.record.evaluator == "finetune"
    assert result.record.options["fraction"] == 0.1
    assert 0 <= result.record.metrics["accuracy"] <= 1
    assert result.record.encoder == selfsup.load(run.path).digest()
    assert [file.name.split("-")[0] for file in run.results.glob("*.json")] == ["finetune"]
    tuned = selfsup.load(tmp_path / "tuned")
    assert tuned.metadata["finetuned_on"] == "toy-frames"
    assert tuned.digest() == result.model.encoder.digest() != result.record.encoder


def test_finetune_is_the_evaluator_of_that_name(encoder):
    (record,) = evaluate(
        encoder, "toy-frames", evaluators=["finetune"], options={"finetune": {**TUNE, "fraction": 0.2}}, seed=2
    )
    assert finetune(encoder, "toy-frames", fraction=0.2, options=TUNE, seed=2).record.metrics == record.metrics


def test_progress_goes_to_stderr_and_only_if_asked_for(encoder, capsys):
    finetune(encoder, _dataset(), options=TUNE, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    for words in ("reading training rows", "held out with seed 0", "fine-tuning", "loss"):
        assert words in shown.err
    finetune(encoder, _dataset(), options=TUNE)
    assert capsys.readouterr() == ("", "")


def test_finetune_refuses_wrong_options(encoder):
    with pytest.raises(ConfigError, match=r"'epoch'.*'epochs'"):
        finetune(encoder, "toy-frames", options={"epoch": 3})
    with pytest.raises(ConfigError, match="fraction"):
        finetune(encoder, "toy-frames", fraction=2.0)


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_embed_to_npy(encoder, tmp_path, batch_size):
    result = embed(encoder, "toy-frames", tmp_path / "e.npy", batch_size=batch_size)
    stored = np.load(tmp_path / "e.npy")
    assert (result.rows, result.dim, result.bad_rows) == (256, 32, 0)
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, encoder.embed(frame_rows(256, 0)), atol=1e-5)


def test_embed_to_parquet(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("selfsup.evaluation.embedding.files._GROUP", 100)
    embed(encoder, "toy-frames", tmp_path / "e.parquet", split="test", batch_size=50)
    table = pq.read_table(tmp_path / "e.parquet")
    rows = frame_rows(128, 1)
    assert table.column_names == ["row", "embedding", "label"]
    assert table["row"].to_pylist() == list(range(128))
    assert table["label"].to_pylist() == [f"class {row['label']}" for row in rows]
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), encoder.embed(rows), atol=1e-5)
    assert pq.ParquetFile(tmp_path / "e.parquet").num_row_groups == 2


def test_embed_of_ragged_rows_keeps_their_order(id_encoder, tmp_path):
    embed(id_encoder, "toy-sequences", tmp_path / "e.npy", batch_size=16)
    rows = load_rows("toy-sequences")
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), id_encoder.embed(rows), atol=1e-5)


def load_rows(name):
    modality = selfsup.registry.registry().get("modality", "sequence")
    from selfsup.data import load_source

    return load_source(name, modality=modality)


def test_embed_leaves_out_bad_rows_and_says_which_are_there(encoder, tmp_path):
    rows = [{"sequence": row["sequence"]} for row in frame_rows(20, 0)]
    rows[3]["sequence"] = []
    result = embed(encoder, Dataset.from_list(rows), tmp_path / "e.parquet", max_bad_rows=0.1)
    table = pq.read_table(tmp_path / "e.parquet")
    assert (result.rows, result.bad_rows) == (19, 1)
    assert table.column_names == ["row", "embedding"]
    assert table["row"].to_pylist() == [*range(3), *range(4, 20)]


def test_embedded_rows_are_named_by_the_column_that_names_them(encoder, tmp_path):
    rows = [
        {"sequence": row["sequence"], "id": f"n{number}", "label": row["label"]} for number, row in enumerate(frame_rows(20, 0))
    ]
    rows[3]["sequence"] = []
    data = Dataset.from_list(rows)
    result = embed(encoder, data, tmp_path / "e.parquet", max_bad_rows=0.1)
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["row", "id", "embedding", "label"]
    assert table["id"].to_pylist() == [f"n{number}" for number in range(20) if number != 3]
    assert [place for place, _ in result.left_out] == [3]
    embed(encoder, data, tmp_path / "e.npy", max_bad_rows=0.1)
    with (tmp_path / "e.rows.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["row", "id", "label"]
    assert lines[4] == ["4", "n4", str(rows[4]["label"])]
    assert len(lines) == len(np.load(tmp_path / "e.npy")) + 1
    embed(encoder, data, tmp_path / "e.csv", max_bad_rows=0.1)
    with (tmp_path / "e.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    numbers = np.array([[float(line[f"e{place}"]) for place in range(32)] for line in read], dtype=np.float32)
    np.testing.assert_array_equal(numbers, np.load(tmp_path / "e.npy"))
    assert [line["id"] for line in read] == table["id"].to_pylist()
    named = data.rename_column("id", "code")
    embed(encoder, named, tmp_path / "e.parquet", max_bad_rows=0.1)
    assert pq.read_table(tmp_path / "e.parquet").column_names == ["row", "embedding", "label"]
    embed(encoder, named, tmp_path / "e.parquet", max_bad_rows=0.1, id_column="code")
    assert pq.read_table(tmp_path / "e.parquet")["id"].to_pylist()[:2] == ["n0", "n1"]
    with pytest.raises(ColumnError, match=r"no column 'nothing' to name its rows by \(--id\). Its columns are sequence, code"):
        embed(encoder, named, tmp_path / "e.parquet", id_column="nothing")


def test_embed_refuses_an_unknown_format_before_it_does_anything(tmp_path):
    with pytest.raises(ConfigError, match=r"e\.txt: its name has to end in \.parquet, \.csv or \.npy"):
        embed(tmp_path / "nothing", "nowhere", tmp_path / "e.txt")


def test_an_interrupted_embed_leaves_no_file(encoder, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("selfsup.evaluation.embedding.files._write_npy", full)
    with pytest.raises(StorageError, match="the disk is full"):
        embed(encoder, "toy-frames", tmp_path / "out" / "e.npy")
    assert list((tmp_path / "out").iterdir()) == []


def test_engines_and_their_options_are_checked_first(tmp_path, monkeypatch):
    def embed_by(engine, **options):
        embed(tmp_path / "nothing", "nowhere", tmp_path / "e.npy", engine=engine, engine_options=options)

    with pytest.raises(ConfigError, match="engine='spark' is not allowed; it is local or ray"):
        embed_by("spark")
    with pytest.raises(ConfigError, match="The engine local has no option 'workers'"):
        embed_by("local", workers=2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'not installed: pip install "selfsup\[ray\]"'):
        embed_by("ray")


def test_a_cache_that_cannot_be_written_is_named_by_a_worker_of_blocks(tmp_path, monkeypatch):
    from selfsup.evaluation.embedding.blocks import BlockEmbedder

    (file := tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("SELFSUP_CACHE", str(file))
    worker = BlockEmbedder.__new__(BlockEmbedder)
    worker.rows = SimpleNamespace(select=list)  # they are read later
    with pytest.raises(StorageError, match=r"Cannot write .*cache/embedding.*SELFSUP_CACHE"):
        worker.embed(0, 1)
