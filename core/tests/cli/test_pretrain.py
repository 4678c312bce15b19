"""``selfsup pretrain`` by its command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfsup.artifacts import RunDirectory

pytestmark = pytest.mark.usefixtures("toy")

SMALL = ["--data", "toy-sequences", "--batch-size", "64", "--precision", "32", "--backbone", "sequence/conv"]
HEADS = ["--set", "objective.hidden_dim=16", "--set", "objective.output_dim=8"]


def test_pretrain_without_arguments_explains(cli):
    done = cli("pretrain")
    assert done.status == 2
    assert "selfsup pretrain vision/simclr --data photos/" in done.out + done.err
    assert "--resume" in done.out + done.err


def test_pretrain_passes_its_options_on_and_its_config_repeats_it(cli, tmp_path):
    pytest.importorskip("tensorboard")
    first, second = tmp_path / "first", tmp_path / "second"
    options = ["--column", "sequence=sequence", "--logger", "tensorboard", "--val", "toy-sequences:test", "--max-bad-rows", 0.5]
    done = cli("pretrain", "sequence/simclr", *SMALL, *HEADS, *options, "--steps", 3, "--out", first, "--seed", 7, "--lr", 0.01)
    assert done.out.splitlines()[0] == f"The encoder is in {first / 'encoder'}."
    assert "pretraining 3/3 steps  loss" in done.err
    assert done.err.count("Data: toy-sequences (train), ") == 1
    run = RunDirectory(first)
    assert run.info()["found"]["facts"]["label"] == "column 'label'"
    config = run.info()["config"]
    assert (config["seed"], config["optimization"]["lr"], config["max_bad_rows"]) == (7, 0.01, 0.5)
    assert (config["columns"], config["loggers"]) == ({"sequence": "sequence"}, ["tensorboard"])
    assert config["task_options"]["objective"]["hidden_dim"] == 16
    assert "probe_accuracy" in list(run.metrics())[-1]
    document = json.loads(cli("pretrain", "--config", first / "run.json", "--out", second, "--json").out)
    assert (document["run"], document["status"], document["metrics"]["step"]) == (str(second), "done", 3)
    weights = Path("encoder") / "model.safetensors"
    assert (first / weights).read_bytes() == (second / weights).read_bytes()
    assert cli("pretrain", "--resume", "--out", first).status == 0
    done = cli("pretrain", "sequence/simclr", "--resume", "--out", first, "--seed", 5)
    assert (done.status, "it was not started with seed = 5 (but 7)" in done.err) == (2, True)


def test_without_out_a_folder_is_named_after_task_and_time(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("pretrain", "sequence/random-init", *SMALL).status == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("sequence-random-init-")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["sequence/simclr"], 2, "Error: no data was given"),
        (["sequence/simcrl", *SMALL], 2, "Did you mean 'sequence/simclr'"),
        (["vision/simclr", *SMALL], 2, "Error: vision/simclr needs the"),
        (["sequence/simclr", *SMALL, "--set", "qqq=1"], 2, "`selfsup list options sequence/simclr --backbone sequence/conv`"),
        (["sequence/simclr", *SMALL, "--column", "a=b", "--column", "a=c"], 2, "a is given twice, as b and as c"),
        (["sequence/simclr", *SMALL, "--epochs", "1", "--steps", "1"], 2, "epochs and steps are both set"),
        (["sequence/simclr", *SMALL, "--set", "seed=1", "--seed", "2"], 2, "seed is given twice, as 1 and as 2"),
        (["sequence/simclr", *SMALL, "--set", "optimization.lr=1", "--lr", "2"], 2, "are the same option"),
        (["sequence/simclr", *SMALL, "--set", "data=other"], 2, "data is given twice"),
        (["sequence/simclr", *SMALL, "--label-kind", "number"], 2, "label_kind has no effect: sequence/simclr sees no labels"),
        (["sequence/simclr", *SMALL, "--unlabelled", "7"], 2, "unlabelled has no effect"),
        (["sequence/simclr", *SMALL[2:], "--data", "nothing-there"], 1, "'nothing-there' is no file"),
    ],
)
def test_wrong_usage_is_one_line_without_a_traceback(arguments, status, message, cli, tmp_path):
    done = cli("pretrain", *arguments, "--out", tmp_path / "run")
    assert (done.status, done.out) == (status, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_format_of_a_table_is_passed_on(cli, tmp_path):
    (tmp_path / "rows.csv").write_text("a;b\n1;2\n")
    table = ["--data", tmp_path / "rows.csv", "--separator", ";", "--decimal", ",", "--encoding", "cp1252", "--no-header"]
    done = cli("pretrain", "sequence/simclr", *table, "--sheet", "May", "--out", tmp_path / "none")
    assert (done.status, "--sheet has no effect on" in done.err) == (2, True)
    done = cli("pretrain", "sequence/simclr", *table, "--out", tmp_path / "none")
    assert (done.status, "Its columns are column_0 (string), column_1 (string)" in done.err) == (1, True)
