"""``selfsup evaluate``, ``finetune``, ``embed`` and ``export`` by their commands."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from selfsup.artifacts import read_results
from selfsup.testing.toy.sequences.rows import frame_rows


def test_evaluate_prints_one_json_document_and_writes_records(cli, run):
    sets = ("--set", "knn.k=5", "--set", "rows=50")
    done = cli("evaluate", run.path, "--data", "toy-frames", "--evaluators", "knn, geometry", *sets, "--json")
    assert done.status == 0, done.err
    knn, geometry = json.loads(done.out)
    assert (knn["evaluator"], knn["options"]["k"]) == ("knn", 5)
    assert (geometry["evaluator"], geometry["options"]["rows"]) == ("geometry", 50)
    assert {"knn", "geometry"} <= {record.evaluator for record in read_results(run.results)}


def test_evaluate_in_a_pipe_prints_a_line_a_metric(cli, run):
    lines = [line.split("\t") for line in cli("evaluate", run.path, "--data", "toy-frames").out.splitlines()]
    assert lines[0] == ["EVALUATOR", "METRIC", "VALUE"]
    assert {(name, metric) for name, metric, _ in lines[1:]} >= {("knn", "accuracy"), ("linear", "accuracy"), ("linear", "l2")}
    assert all(np.isfinite(float(value)) for *_, value in lines[1:])


def test_a_bad_row_is_named_once(cli, run, tmp_path):
    rows = [{**row, "label": f"class {row['label']}"} for row in frame_rows(200, 0)]
    rows[4]["sequence"] = []
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = cli("evaluate", run.path, "--data", tmp_path / "rows.jsonl", "--test", "toy-frames", "--evaluators", "knn")
    assert done.status == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "left out" in line]
    assert line.startswith("Warning: 1 of the 200 training rows are left out: row ")
    assert line.count("row 4") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "knn.kk=3"], "'knn.kk'. Did you mean"),
        (["--set", "knn.k"], "key=value"),
        (["--set", "knn.k=0"], "k = 0 is not allowed"),
        (["--evaluators", "nearest"], "nearest"),
        (["--column", "photo"], "not of the form ROLE=NAME"),
    ],
)
def test_evaluate_refuses_wrong_options(cli, run, args, message):
    done = cli("evaluate", run.path, "--data", "toy-frames", *args)
    assert done.status == 2
    assert message in done.err


def test_finetune_saves_the_tuned_encoder(cli, run, tmp_path):
    done = cli(
        "finetune", run.path, "--data", "toy-frames", "--fraction", 0.1, "--set", "epochs=1", "--set", "finetune.min_steps=0",
        "--set", "precision=32", "--out", tmp_path / "tuned", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    (record,) = json.loads(done.out)
    assert (record["options"]["fraction"], record["options"]["epochs"]) == (0.1, 1)
    assert (tmp_path / "tuned" / "head.safetensors").exists()
    assert "tuned" in done.err


def test_embed_writes_a_file_and_says_so(cli, run, tmp_path):
    done = cli("embed", run.path, "--data", "toy-frames", "--split", "test", "--out", tmp_path / "e.npy")
    assert done.out.strip() == f"{tmp_path / 'e.npy'}: 128 embeddings of 32 numbers"
    assert np.load(tmp_path / "e.npy").shape == (128, 32)
    path = str(tmp_path / "e.parquet")
    done = cli("embed", run.path, "--data", "toy-frames", "--out", path, "--json")
    assert json.loads(done.out) == {"path": path, "rows": 256, "dim": 32, "bad_rows": 0, "left_out": []}


def test_embed_refuses_options_of_another_engine(cli, run, tmp_path):
    arguments = ("embed", run.path, "--data", "toy-frames", "--out", tmp_path / "e.npy", "--engine-option")
    assert "'workers' is not of the form KEY=VALUE" in cli(*arguments, "workers").err
    done = cli(*arguments, "workers=2")
    assert (done.status, "The engine local has no option 'workers'" in done.err) == (2, True)


def test_export_writes_an_encoder(cli, run, tmp_path):
    done = cli("export", run.path, "--format", "safetensors", "--out", tmp_path / "exported", "--json")
    assert json.loads(done.out) == {"path": str(tmp_path / "exported"), "format": "safetensors"}
    assert load_file(tmp_path / "exported" / "model.safetensors").keys() == load_file(run.encoder / "model.safetensors").keys()


@pytest.mark.parametrize("command", ["evaluate", "finetune", "embed"])
def test_options_of_the_data_are_passed_on(cli, run, tmp_path, command):
    (tmp_path / "rows.csv").write_text("a;b\n1;2\n")
    table = ["--separator", ";", "--decimal", ",", "--encoding", "cp1252", "--no-header"]
    out = ["--out", tmp_path / "e.npy"] if command == "embed" else []
    done = cli(command, run.path, "--data", tmp_path / "rows.csv", *table, *out)
    assert (done.status, "column_0 (string), column_1 (string)" in done.err) == (1, True)
    for option, message in (
        (["--sheet", "May"], "--sheet has no effect on"),
        (["--column", "sequence=nothing"], "no column 'nothing'"),
        (["--label", "nothing"], "no label column 'nothing'"),
        (["--part", "left"], "leave the part 'left' out"),
    ):
        done = cli(command, run.path, "--data", "toy-frames", *option, *out)
        assert (done.status > 0, message in done.err) == (True, True), done.err
    with_best = cli(command, run.path, "--data", "toy-frames", "--checkpoint", "best", *out)
    assert (with_best.status, "best" in with_best.err) == (1, True)
