from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfsup.artifacts import RunDirectory
from selfsup.cli.main import main
from selfsup.testing.toy.sequences.installed import installed

SMALL = ["--data", "toy-sequences", "--batch-size", "64", "--precision", "32", "--backbone", "sequence/conv"]
HEADS = ["--set", "objective.hidden_dim=16", "--set", "objective.output_dim=8"]


@pytest.fixture(scope="module", autouse=True)
def toy_modality(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_PLUGINS", "sequences")
        patch.setenv("SELFSUP_CACHE", str(folder / "cache"))
        with installed(folder / "site"):
            yield


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *map(str, args)])
    return int(ended.value.code or 0)


def test_pretrain_without_arguments_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    shown = "".join(capsys.readouterr())
    assert "selfsup pretrain vision/simclr --data photos/" in shown
    assert "--resume" in shown


def test_pretrain_leaves_an_encoder_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run("sequence/simclr", *SMALL, *HEADS, "--steps", 3, "--out", out, "--seed", 7, "--lr", 0.01) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == f"The encoder is in {out / 'encoder'}."
    assert "pretraining 3/3 steps  loss" in shown.err
    assert shown.err.count("Data: toy-sequences (train), ") == 1
    assert RunDirectory(out).info()["found"]["facts"]["label"] == "column 'label'"
    config = RunDirectory(out).info()["config"]
    assert (config["seed"], config["optimization"]["lr"]) == (7, 0.01)
    assert config["task_options"]["objective"]["hidden_dim"] == 16


def test_json_is_one_document_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run("sequence/simclr", *SMALL, *HEADS, "--epochs", 100, "--max-steps", 2, "--out", out, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["run"], document["status"], document["metrics"]["step"]) == (str(out), "done", 2)


def test_a_column_a_logger_and_a_validation_set_are_passed_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    options = [
        "--column",
        "sequence=sequence",
        "--logger",
        "tensorboard",
        "--val",
        "toy-sequences:test",
        "--max-bad-rows",
        "0.5",
    ]
    assert run("sequence/simclr", *SMALL, *HEADS, "--steps", 2, "--out", out, *options) == 0
    config = RunDirectory(out).info()["config"]
    assert config["columns"] == {"sequence": "sequence"}
    assert (config["loggers"], config["max_bad_rows"]) == (["tensorboard"], 0.5)
    assert "probe_accuracy" in list(RunDirectory(out).metrics())[-1]


def test_without_out_a_folder_is_named_after_task_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("sequence/random-init", *SMALL) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("sequence-random-init-")


def test_config_repeats_a_run_and_resume_finds_it_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("sequence/simclr", *SMALL, *HEADS, "--steps", 2, "--out", first) == 0
    assert run("--config", first / "run.json", "--out", second) == 0
    weights = Path("encoder") / "model.safetensors"
    assert (first / weights).read_bytes() == (second / weights).read_bytes()
    assert run("--resume", "--out", first) == 0
    capsys.readouterr()
    assert run("sequence/simclr", "--resume", "--out", first, "--seed", 5) == 2
    assert "it was not started with seed = 5 (but 0)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["sequence/simclr"], 2, "Error: no data was given"),
        (["sequence/simcrl", *SMALL], 2, "Did you mean 'sequence/simclr'"),
        (["vision/simclr", *SMALL], 2, "Error: vision/simclr needs the"),
        (["sequence/simclr", *SMALL, "--set", "optimization.rl=1"], 2, "unknown config key 'optimization.rl'"),
        (["sequence/simclr", *SMALL, "--set", "qqq=1"], 2, "`selfsup list options sequence/simclr --backbone sequence/conv`"),
        (["sequence/simclr", *SMALL, "--set", "lr"], 2, "'lr' is not of the form key=value"),
        (["sequence/simclr", *SMALL, "--column", "image"], 2, "'image' is not of the form ROLE=NAME"),
        (["sequence/simclr", *SMALL, "--column", "a=b", "--column", "a=c"], 2, "a is given twice, as b and as c"),
        (["sequence/simclr", *SMALL, "--epochs", "1", "--steps", "1"], 2, "epochs and steps are both set"),
        (["sequence/simclr", *SMALL, "--set", "seed=1", "--seed", "2"], 2, "seed is given twice, as 1 and as 2"),
        (["sequence/simclr", *SMALL, "--set", "optimization.lr=1", "--lr", "2"], 2, "are the same option"),
        (["sequence/simclr", *SMALL, "--set", "seed=1", "--set", "seed=2"], 2, "seed is given twice, as 1 and as 2"),
        (["sequence/simclr", *SMALL, "--set", "seed=none"], 2, "seed=none is not allowed: this option is int and has no null"),
        (["sequence/simclr", *SMALL, "--set", "data=other"], 2, "data is given twice"),
        (["sequence/simclr", *SMALL, "--label-kind", "number"], 2, "label_kind has no effect: sequence/simclr sees no labels"),
        (["sequence/simclr", *SMALL, "--unlabelled", "7"], 2, "unlabelled has no effect"),
        (["sequence/simclr", *SMALL, "--set", "optimization.channels_last=true"], 2, "channels_last has no effect"),
        (["sequence/simclr", *SMALL[2:], "--data", "nothing-there"], 1, "'nothing-there' is no file"),
    ],
)
def test_wrong_usage_is_one_line_without_a_traceback(
    arguments: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--out", tmp_path / "run") == status
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_the_format_of_a_table_is_passed_on_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text("a;b\n1;2\n")
    table = ["--data", tmp_path / "rows.csv", "--separator", ";", "--decimal", ",", "--encoding", "cp1252", "--no-header"]
    assert run("sequence/simclr", *table, "--sheet", "May", "--out", tmp_path / "none") == 2
    assert "--sheet says nothing of" in capsys.readouterr().err
    assert run("sequence/simclr", *table, "--out", tmp_path / "none") == 1
    assert "Its columns are column_0 (string), column_1 (string)" in capsys.readouterr().err
    out = tmp_path / "run"
    assert run("sequence/simclr", *SMALL, *HEADS, "--steps", 1, "--out", out) == 0
    for command, *more in (("evaluate",), ("finetune",), ("embed", "--out", tmp_path / "e.npy")):
        with pytest.raises(SystemExit) as ended:
            main([command, str(out), *map(str, [*table, *more])])
        assert ended.value.code == 1
        assert "column_0 (string), column_1 (string)" in capsys.readouterr().err
