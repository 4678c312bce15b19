"""Benchmarks of own data from the first row to the advice, on tiny real files: photos, tables, texts."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from selfsup.cli.main import main
from selfsup.errors import ConfigError, DataError, RunDirectoryError
from selfsup_bench.commands import benchmark, report
from selfsup_bench.executors.base import Machine
from selfsup_bench.leaderboard.board import Leaderboard
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.own_data.command import Asked, own_benchmark
from selfsup_bench.records.record import RecordStore

pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
pytest.importorskip("selfsup_text", reason="needs the text plugin")
pytest.importorskip("selfsup_vision", reason="needs the vision plugin")


MakeMachine = Callable[..., Machine]


@pytest.fixture
def machine(in_process: Any, few_points: None, machine_of: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> MakeMachine:
    """Makes a machine whose cells run in this process; on a busy one no pilot is cut off."""
    monkeypatch.setattr("selfsup_bench.own_data.pilot._LEAST", 600.0)

    def made(said: list[str] | None = None) -> Machine:
        return machine_of(in_process, (said if said is not None else []).append)

    return made


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def write_people(path: Path, *, labelled: int = 48, rows: int = 200) -> Path:
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "height", "job", "income"])
        for place in range(rows):
            age = generator.integers(18, 80)
            label = ("high" if age > 45 else "low") if place < labelled else ""
            writer.writerow([age, round(generator.normal(170, 9), 1), generator.choice(["nurse", "smith"]), label])
    return path


def write_photos(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for place in range(60):
        kind = ("across", "down", "unsorted")[place % 3]
        pixels = generator.integers(0, 90, (12, 12, 3), dtype=np.uint8)
        pixels[(slice(None, None, 3), slice(None))[:: 1 if place % 2 else -1]] += 150
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / f"{place}.png")
    return folder


def whole(board: Leaderboard, advice: Recommendation, out: Path) -> None:
    """What each finished benchmark of own data has."""
    (table,) = board.tables
    assert board.failures == ()
    assert {row.kind for row in table.rows} >= {"task", "raw", "random-init", "scratch", "supervised"}
    assert all(row.score is not None for row in table.rows if row.kind != "supervised")
    assert advice.state in ("pretrain", "do-not-pretrain", "unclear")
    assert (out / "encoder" / "model.safetensors").is_file()
    assert "report" in (out / "report.html").read_text().lower()
    assert not list(out.rglob("checkpoints")), "what can be made again is deleted"
    assert not (out / "pilot").exists()


@pytest.mark.slow
def test_a_table_with_missing_labels(tmp_path: Path, machine: MakeMachine) -> None:
    write_people(tmp_path / "people.csv")
    said: list[str] = []
    asked = Asked(data="people.csv", label="income", minutes=0.05, names=("vime", "simclr"))
    board, advice = own_benchmark(asked, Path("out"), machine(said))
    whole(board, advice, Path("out"))
    text = "\n".join(said)
    assert "Modality: tabular, since its columns are age, height, job" in text
    assert "Data: people, 200 rows, 48 with a label (income)." in text
    assert "24 of the labelled rows, which no pretraining sees" in text
    assert "Plan: 2 tasks x 1 seed, 5" in text
    assert "So few steps teach little; with --minutes" in text
    # Raw features, the untrained network and tasks are tested on the same rows.
    records = RecordStore(Path("out")).all().values()
    assert {result["n_test"] for record in records for result in record.results} == {24}
    assert {result["pretrained_share"] for record in records for result in record.results} == {0.0}
    # What it prints works as it stands.
    for what, command in advice.commands:
        assert command.startswith("selfsup ")
        words = shlex.split(command)[1:]
        if words[0] == "pretrain":
            words += ["--steps", "2"]
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code, what
    assert Path("embeddings.parquet").is_file()
    # The command goes on with it, and finds nothing left to do.
    before = {path.name: path.stat().st_mtime_ns for path in Path("out/records").iterdir()}
    again, _ = own_benchmark(None, Path("out"), machine(), resume=True)
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in Path("out/records").iterdir()}.items()
    assert len(again.seeds) >= len(board.seeds)
    with pytest.raises(ConfigError, match="whose --label is 'income', and not 'job'"):
        own_benchmark(Asked(data="people.csv", label="job"), Path("out"), machine(), resume=True)
    with pytest.raises(RunDirectoryError, match="holds a benchmark already"):
        own_benchmark(asked, Path("out"), machine())
    document = json.loads(CliRunner().invoke(report, ["out", "--json"]).stdout)
    assert document["recommendation"]["sentence"] == advice.sentence


@pytest.mark.slow
def test_photos_of_two_kinds_and_a_heap_of_unsorted_ones(tmp_path: Path, machine: MakeMachine) -> None:
    write_photos(tmp_path / "photos")
    asked = Asked(data="photos", unlabelled=("unsorted",), minutes=0.05, names=("simclr",), per_class=4)
    board, advice = own_benchmark(asked, Path("out"), machine())
    whole(board, advice, Path("out"))
    labelled = [command for what, command in advice.commands if what.startswith("train a classifier")]
    assert "--data photos --unlabelled unsorted" in labelled[0]
    assert board.tables[0].headline == "few-labels.accuracy@4"


@pytest.mark.slow
def test_texts_with_labelled_lines_apart(tmp_path: Path, machine: MakeMachine) -> None:
    generator = np.random.default_rng(0)
    words = {"sport": ["ball", "goal", "team"], "city": ["street", "house", "tram"]}
    lines = [(" ".join(generator.choice([*words[kind], "the", "a", "and", "of"], 8)), kind) for kind in ("sport", "city") * 40]
    (tmp_path / "corpus.txt").write_text("\n".join(text for text, _ in lines))
    (tmp_path / "few.csv").write_text("\n".join(["text,topic", *(f"{text},{kind}" for text, kind in lines[:32])]))
    asked = Asked(data="corpus.txt", labelled="few.csv", label="topic", minutes=0.05, names=("simclr",), per_class=3)
    board, advice = own_benchmark(asked, Path("out"), machine())
    whole(board, advice, Path("out"))
    names = {result["dataset"] for record in RecordStore(Path("out")).all().values() for result in record.results}
    assert names == {str(tmp_path / "few.csv")}


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--data", "people.csv", "--suite", "quick"), ConfigError, "--suite does not go with --data"),
        (("--data", "people.csv", "--seeds", "5"), ConfigError, "--seeds does not go with --data: as many seeds are run as"),
        (("--minutes", "5"), ConfigError, "--minutes has no effect without --data"),
        (("--label", "income"), ConfigError, "--label has no effect without --data"),
        (("--no-header",), ConfigError, "--no-header has no effect without --data"),
        (("--data", "people.csv", "--modality", "vision", "--modality", "text"), ConfigError, "of one modality, not of 2"),
        (("--data", "people.csv", "--label", "wages"), DataError, "wages"),
        (("--data", "people.csv"), DataError, "label"),
        (("--data", "nothing.csv"), ConfigError, "The kind of data in nothing.csv cannot be guessed"),
        (("--data", "few.csv", "--label", "income"), DataError, "too few labels: at least two classes need 4 labelled rows"),
    ],
)
def test_what_does_not_go_is_said_before_anything_runs(
    tmp_path: Path, arguments: tuple[str, ...], error: type[Exception], message: str
) -> None:
    write_people(tmp_path / "people.csv")
    write_people(tmp_path / "few.csv", labelled=4)
    with pytest.raises(error, match=message):
        CliRunner().invoke(benchmark, [*arguments, "--out", "out"], catch_exceptions=False)
    assert not Path("out/records").exists()


def test_going_on_needs_something_to_go_on_with(machine: MakeMachine) -> None:
    Path("other").mkdir()
    Path("other/benchmark.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match="other holds another benchmark, which is not of own data"):
        own_benchmark(Asked(data="people.csv"), Path("other"), machine(), resume=True)
    with pytest.raises(RunDirectoryError, match="out holds no benchmark of own data to go on with"):
        own_benchmark(None, Path("out"), machine(), resume=True)
