"""``selfsup evaluate``, ``finetune``, ``embed`` and ``export`` by their commands."""

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from selfsup.artifacts import Encoder, RunDirectory
from selfsup.cli.main import program
from selfsup.data import load_source
from selfsup.errors import ArtifactError, ConfigError, UnknownIdError
from selfsup.registry import registry
from selfsup.testing.toy.sequences.installed import installed
from selfsup.testing.toy.sequences.rows import frame_rows


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a finished run of the toy modality."""
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    with installed(tmp_path / "site"):
        rows = load_source("toy-frames", modality=registry().get("modality", "sequence"))
        cls = registry().processor_class("sequence")
        processor = cls(cls.Config()).fit(rows)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            backbone, options = registry().build_backbone("sequence/conv", {}, processor.info())
        run = RunDirectory.create(tmp_path / "run", task="sequence/random-init", config={})
        task = "sequence/random-init"
        Encoder(processor, backbone, backbone_id="sequence/conv", backbone_options=options, task=task).save(run.encoder)
        run.update(status="done")
        yield run


def call(*args):
    return CliRunner().invoke(program, [str(arg) for arg in args])


def test_evaluate_prints_one_json_document_and_writes_records(run):
    result = call(
        "evaluate",
        run.path,
        "--data",
        "toy-frames",
        "--evaluators",
        "knn, geometry",
        "--set",
        "knn.k=5",
        "--set",
        "rows=50",
        "--json",
    )
    assert result.exit_code == 0, result.output
    knn, geometry = json.loads(result.stdout)
    assert (knn["evaluator"], knn["options"]["k"]) == ("knn", 5)
    assert (geometry["evaluator"], geometry["options"]["rows"]) == ("geometry", 50)
    assert len(list(run.results.glob("*.json"))) == 2


def test_evaluate_in_a_pipe_prints_a_line_a_metric(run):
    result = call("evaluate", run.path, "--data", "toy-frames")
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == ["EVALUATOR", "METRIC", "VALUE"]
    assert {(name, metric) for name, metric, _ in lines[1:]} >= {("knn", "accuracy"), ("linear", "accuracy"), ("linear", "l2")}
    assert all(np.isfinite(float(value)) for *_, value in lines[1:])


def test_a_bad_row_is_named_once(run, tmp_path):
    table = tmp_path / "rows.jsonl"
    rows = [
        {"sequence": [] if i == 4 else row["sequence"], "label": f"class {row['label']}"}
        for i, row in enumerate(frame_rows(200, 0))
    ]
    table.write_text("\n".join(json.dumps(row) for row in rows))
    result = call("evaluate", run.path, "--data", table, "--test", "toy-frames", "--evaluators", "knn")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "left out" in line]
    assert line.startswith("Warning: 1 of the 200 training rows are left out: row ")
    assert line.count("row 4") == 1


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (["--set", "knn.kk=3"], ConfigError, r"knn\.kk.*Did you mean"),
        (["--set", "knn.k"], ConfigError, "key=value"),
        (["--set", "knn.k=0"], ConfigError, "k = 0 is not allowed"),
        (["--evaluators", "nearest"], UnknownIdError, "nearest"),
    ],
)
def test_evaluate_refuses_wrong_options(run, args, error, message):
    result = call("evaluate", run.path, "--data", "toy-frames", *args)
    assert isinstance(result.exception, error)
    assert re.search(message, str(result.exception))


def test_a_column_without_a_role_is_wrong_usage(run):
    result = CliRunner().invoke(program, ["evaluate", str(run.path), "--data", "toy-frames", "--column", "photo"])
    assert result.exit_code == 2
    assert "not of the form ROLE=NAME" in result.output


def test_finetune_saves_the_tuned_encoder(run, tmp_path):
    result = call(
        "finetune", run.path, "--data", "toy-frames", "--fraction", 0.1, "--set", "epochs=1", "--set", "finetune.min_steps=0",
        "--set", "precision=32", "--out", tmp_path / "tuned", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)
    assert record["options"]["fraction"] == 0.1
    assert record["options"]["epochs"] == 1
    assert (tmp_path / "tuned" / "head.safetensors").exists()
    assert "tuned" in result.stderr


def test_embed_writes_a_file_and_says_so(run, tmp_path):
    result = call("embed", run.path, "--data", "toy-frames", "--split", "test", "--out", tmp_path / "e.npy")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{tmp_path / 'e.npy'}: 128 embeddings of 32 numbers"
    assert np.load(tmp_path / "e.npy").shape == (128, 32)
    result = call("embed", run.path, "--data", "toy-frames", "--out", tmp_path / "e.parquet", "--json")
    path = str(tmp_path / "e.parquet")
    assert json.loads(result.stdout) == {"path": path, "rows": 256, "dim": 32, "bad_rows": 0, "left_out": []}


def test_export_writes_an_encoder(run, tmp_path):
    result = call("export", run.path, "--format", "safetensors", "--out", tmp_path / "exported", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"path": str(tmp_path / "exported"), "format": "safetensors"}
    assert load_file(tmp_path / "exported" / "model.safetensors").keys() == load_file(run.encoder / "model.safetensors").keys()


def test_a_pickle_is_not_loaded(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
    for command in (
        ["evaluate", "--data", "x"],
        ["embed", "--data", "x", "--out", "e.npy"],
        ["export", "--format", "onnx", "--out", "o"],
    ):
        result = call(command[0], tmp_path / "model.pt", *command[1:])
        assert isinstance(result.exception, ArtifactError)
        assert "pickle" in str(result.exception)


@pytest.mark.parametrize("command", ["evaluate", "finetune", "embed", "export"])
def test_help_names_its_options(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert ("--format" if command == "export" else "--data") in result.output
