"""The grid of methods, data sets and seeds: labels, draws, tables; and real cells of a few steps."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset

from selfsup.data import Rows
from selfsup.errors import ConfigError, UnknownIdError
from selfsup.evaluation import Split
from selfsup.registry import registry
from selfsup_bench.quality import grid
from selfsup_bench.quality.cells import Chosen, Grid, GridData, cells_of, chosen_references, chosen_tasks, split_labels
from selfsup_bench.quality.grid import run_grid
from selfsup_bench.quality.grid_cell import GridCell
from selfsup_bench.quality.grid_report import markdown, recalls, surely_better, tables
from selfsup_bench.quality.measure import label_count, measure
from selfsup_bench.quality.tabular import GRID, tabular
from selfsup_bench.quality.tfidf import ideographic, tfidf_outputs

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)


def cell(method: str = "vime", **options: Any) -> GridCell:
    given = {"backbone": "mlp", "seed": 0, "dataset": "wine", "labels": ("9", "all"), "steps": 3, **options}
    if method in ("raw", "boosting"):
        given["backbone"] = ""
    small = (("backbone.dim", 8), ("backbone.depth", 2), ("optimization.batch_size", 16))
    return GridCell(modality="tabular", label="", method=method, finetune_epochs=1, overrides=small, **given)


@pytest.mark.parametrize(("setting", "count"), [("all", 200), ("5%", 10), ("20", 20), ("1000", 200), ("0.5%", 1)])
def test_numbers_of_labels(setting: str, count: int) -> None:
    assert label_count(setting, 200) == count


@pytest.mark.parametrize("setting", ["", "none", "0", "0%", "-3"])
def test_numbers_of_labels_that_are_none(setting: str) -> None:
    with pytest.raises(ConfigError, match="give a number of labels, a share such as 5%, or all"):
        label_count(setting, 200)


def test_cells_of_every_kind(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    methods = ("raw", "boosting", "random-init", "scratch", "vime")
    made = {method: measure(cell(method, repeats=1), tmp_path / method) for method in methods}
    for method in methods:
        assert set(made[method]) == {"9", "all"}
        assert set(made[method]["all"]) == {"accuracy", "macro_f1", "balanced_accuracy", "cross_entropy"}
    assert made["raw"]["all"]["accuracy"] > 0.9
    assert made["boosting"]["all"]["accuracy"] > 0.9
    assert made["random-init"]["all"] != made["vime"]["all"]


def test_cells_of_numbers(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    given = {"dataset": "diabetes", "labels": ("50", "all"), "repeats": 1}
    made = {method: measure(cell(method, **given), tmp_path / method) for method in ("raw", "boosting", "scratch", "vime")}
    for scores in made.values():
        assert list(scores["all"]) == ["r2", "rmse", "mae"]
    assert made["raw"]["all"]["r2"] > 0.3
    assert made["boosting"]["all"]["r2"] > 0.2
    found = {cell(method, **given): scores for method, scores in made.items()}
    (table,) = tables(found, {"diabetes": ""})
    assert table.metric == "r2"
    assert "raw features + ridge regression" in markdown(table)
    (errors,) = tables(found, {"diabetes": "rmse"})
    means = [row.scores["all"].mean + row.scores["50"].mean for row in errors.rows if row.method != "vime"]
    assert means == sorted(means), "the least error first"
    assert "rmse by labels" in markdown(errors)
    assert f"{made['raw']['all']['rmse']:.4g}" in markdown(errors), "in the unit of the labels, not in per cent"


def test_cells_of_several_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    rng = np.random.default_rng(0)
    for split, n in (("train", 200), ("test", 80)):
        x = rng.standard_normal((n, 3))
        label = [[name for name, there in zip("ab", (row[0] > 0, row[1] > 0.8), strict=True) if there] for row in x]
        folder = tmp_path / "data" / "tabular" / "tags"
        folder.mkdir(parents=True, exist_ok=True)
        columns = {**{f"x{i}": x[:, i].tolist() for i in range(3)}, "label": label}
        Dataset.from_dict(columns).to_parquet(folder / f"{split}.parquet")
    monkeypatch.setenv("SELFSUP_DATA", str(tmp_path / "data"))
    for method in ("raw", "boosting"):
        scores = measure(cell(method, dataset="tags", labels=("100", "all"), repeats=1), tmp_path / method)
        assert list(scores["all"]) == ["map", "micro_f1", "macro_f1"]
        assert scores["all"]["map"] > 0.9


def test_words_tell_numbers_and_several_classes() -> None:
    texts = [f"{'good' if i % 2 else 'bad'} {'dog' if i % 3 else 'cat'} number {i}" for i in range(60)]
    train, test = texts_split(texts[:50], [0] * 50), texts_split(texts[50:], [0] * 10)
    numbers = np.array([3.0 * (i % 2) + 0.01 * i for i in range(60)])
    train.labels, train.label_kind = numbers[:50], "number"
    guess = tfidf_outputs(train, np.arange(50), test, seed=0)
    assert (guess - torch.from_numpy(numbers[50:])).abs().mean() < 0.8
    several = np.array([[i % 2, i % 3 > 0, 1] for i in range(60)], dtype=np.int8)
    train.labels, train.label_kind, train.class_names = several[:50], "classes", ("good", "dog", "text")
    odds = tfidf_outputs(train, np.arange(50), test, seed=0)
    assert ((odds > 0).numpy() == several[50:].astype(bool)).mean() > 0.9


def test_wrong_labels_hurt(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    clean, noisy = (measure(cell("boosting", label_noise=share, dataset="breast-cancer"), tmp_path) for share in (0.0, 0.45))
    assert noisy["all"]["accuracy"] < clean["all"]["accuracy"] - 0.1
    assert noisy["all"]["auroc"] < clean["all"]["auroc"]


def test_a_grid_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GridCell] = []

    def measured(cells: Any, jobs: int) -> Any:
        for each in cells:
            asked.append(each)
            failed = each.method == "bad"
            yield each, None if failed else {"all": {"accuracy": 0.5}}, "it broke" if failed else ""

    monkeypatch.setattr(grid, "_measured", measured)
    cells = [cell("vime"), cell("bad"), cell("vime", seed=1)]
    told: list[tuple[int, int, str]] = []
    found, failed = run_grid(cells, tmp_path / "out", done=lambda c, ended, total, error: told.append((ended, total, error)))
    assert set(found) == {cells[0], cells[2]}
    assert failed == {cells[1]: "it broke"}
    assert told == [(1, 3, ""), (2, 3, "it broke"), (3, 3, "")]
    asked.clear()
    again, _ = run_grid(cells, tmp_path / "out")
    assert asked == [cells[1]]
    assert again == found
    assert cells[0].name() != cell("vime", steps=4).name()
    monkeypatch.setattr(grid, "_code", lambda cells: {"versions": "other"})
    run_grid(cells[:1], tmp_path / "out")
    assert asked[-1] == cells[0]


POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from selfsup_bench.quality.grid import _start_worker

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


def test_workers_end_when_the_command_is_killed(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("the state of a process is read from /proc")
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = Path(f"/proc/{int(parent.stdout.readline())}/stat")
        parent.kill()

    def runs() -> bool:
        return worker.exists() and worker.read_text().rpartition(")")[2].split()[0] != "Z"

    for _ in range(200):
        if not runs():
            break
        time.sleep(0.05)
    assert not runs()


def test_an_error_of_a_cell_is_said(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    _, failed = run_grid([cell("raw", dataset="no-such-data")], tmp_path / "out", jobs=1)
    (error,) = failed.values()
    assert "'no-such-data' is no file" in error


def test_tables_pair_by_seed() -> None:
    values = {
        ("random-init", 0): 0.5,
        ("random-init", 1): 0.7,
        ("vime", 0): 0.6,
        ("vime", 1): 0.8,
        ("raw", 0): 0.9,
        ("raw", 1): 0.9,
    }
    found = {
        cell(method, seed=seed): {"9": {"accuracy": value}, "all": {"accuracy": value / 2}}
        for (method, seed), value in values.items()
    }
    found[cell("scarf", seed=0)] = {"9": {"accuracy": 1.0}, "all": {"accuracy": 1.0}}
    (table,) = tables(found, {"wine": "accuracy"})
    assert [row.method for row in table.rows] == ["raw", "random-init", "vime"]
    gain = table.rows[2].gains["9"]
    assert gain.mean == pytest.approx(0.1)
    assert gain.interval is not None
    assert gain.interval.half_width < 1e-6
    text = markdown(table)
    assert "| *raw features + logistic regression* | – | 90.0 ± 0.0 |" in text
    assert "(**+10.0 ± 0.0**)" in text
    assert surely_better([table]) == {"vime": {"tables": 1, "somewhere": 1, "everywhere": 1}}
    assert table.as_dict()["rows"][2]["over_random_init"]["9"]["values"] == pytest.approx([0.1, 0.1])


def test_tasks_and_references_are_chosen_by_name() -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    found = registry()
    named = chosen_tasks(found, "tabular", ("vime", "raw"), usual=("scarf",), references=("raw",))
    assert [task.id for task in named] == ["tabular/vime"]
    usual = chosen_tasks(found, "tabular", (), usual=("scarf", "vime"), references=("raw",))
    assert [task.id for task in usual] == ["tabular/scarf", "tabular/vime"]
    with pytest.raises(UnknownIdError, match="no method 'scrf' for tabular; there are raw, "):
        chosen_tasks(found, "tabular", ("scrf",), usual=(), references=("raw",))
    assert chosen_references(("raw",), ("random-init", "scratch", "raw")) == ["random-init", "raw"]
    assert split_labels("5, all", ("1",)) == ("5", "all")
    assert split_labels("", ("1",)) == ("1",)


def test_cells_of_a_grid() -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    few = GridData(labels=("5", "all"), overrides={"a": 1}, own={"vime": {"b": 2, "c": 3}})
    made = Grid(
        modality="tabular",
        data={"wine": few, "digits-table": GridData(label="label", metric="macro_f1", labels=("all",))},
        other=GridData(labels=("7",)),
        tasks=("vime", "masked-cells"),
        references=("random-init", "scratch", "raw"),
        backbone="mlp",
        single="tabular-resnet",
        shared={"c": 0},
        of_backbone={"ft-transformer": {"d": 4}},
    )
    cells = cells_of(made, Chosen(steps=9, seeds=2), registry())
    assert [(each.dataset, each.seed) for each in cells[::8]] == [(n, s) for n in made.data for s in (0, 1)]
    pairs = [(each.method, each.backbone) for each in cells[:8]]
    assert pairs == [
        ("vime", "mlp"),
        ("masked-cells", "ft-transformer"),
        ("random-init", "ft-transformer"),
        ("random-init", "mlp"),
        ("scratch", "mlp"),
        ("raw", ""),
        ("random-init", "tabular-resnet"),
        ("scratch", "tabular-resnet"),
    ]
    assert dict(cells[0].overrides) == {"c": 3, "a": 1, "b": 2}  # options of one method on one data set
    assert dict(cells[1].overrides) == {"c": 0, "d": 4, "a": 1}
    assert dict(cells[16].overrides) == {"c": 0}
    assert [each.repeats for each in cells[:8]] == [3, 3, 3, 3, 1, 3, 3, 1]
    assert {(each.label, each.labels, each.steps) for each in cells[:8]} == {("", ("5", "all"), 9)}
    chosen = Chosen(datasets=("other",), methods=("vime", "raw"), labels="3", steps=9, seeds=1, finetune=True, noise=0.1)
    named = cells_of(made, chosen, registry())
    assert [each.method for each in named] == ["vime", "random-init", "raw"]
    assert [each.finetune for each in named] == [True, False, False]
    assert {(each.dataset, each.labels, each.label_noise) for each in named} == {("other", ("3",), 0.1)}
    assert [each.backbone for each in cells_of(made, Chosen(methods=("single-frame",), steps=1, seeds=1), registry())[:3]] == [
        "mlp",
        "tabular-resnet",
        "tabular-resnet",
    ]


def test_digits_as_columns_have_options_of_their_own_for_scarf() -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    cells = cells_of(GRID, Chosen(steps=1, seeds=1), registry())
    rates = {(each.dataset, each.method): dict(each.overrides).get("views.rate") for each in cells}
    assert {place for place, rate in rates.items() if rate is not None} == {("digits-table", "scarf")}
    assert rates["digits-table", "scarf"] == 0.4


def test_names_of_results_stay_what_they_were() -> None:
    """Results that earlier calls left are found again by these names."""
    assert cell("vime", seed=1).name() == "wine.vime.mlp.seed1.ad3096bdfc"


def test_retrieval_is_a_table_of_its_own() -> None:
    scores = {"5": {"accuracy": 0.5, "recall_at_1": 0.3, "recall_at_5": 0.4}, "all": {}}
    scores["all"] = {"recall_at_1": 0.6, "recall_at_10": 0.9, "recall_at_5": 0.8}  # as a file of sorted keys gives them
    found = {
        cell("vime", labels=("5", "all")): scores,
        cell("scratch", labels=("5", "all")): {"5": {}, "all": {"accuracy": 1.0}},
    }
    (table,) = tables(recalls(found), {"wine": "recall"})
    assert [row.method for row in table.rows] == ["vime"]
    text = markdown(table)
    assert text.startswith("wine, recall %:")
    assert "| method | backbone | R@1 | R@5 | R@10 |" in text
    assert "| vime | mlp | 60.0 | 80.0 | 90.0 |" in text


def test_tabular_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    assert set(GRID.data) >= {"adult", "letter", "digits-table"}
    arguments = ["--dataset", "wine", "--method", "raw", "--method", "vime", "--seeds", "2", "--steps", "2", "--jobs", "1"]
    result = CliRunner().invoke(tabular, [*arguments, "--labels", "50%", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "wine, accuracy % by labels:" in result.stdout
    assert "| vime | mlp |" in result.stdout


def texts_split(texts: list[str], labels: list[int]) -> Split:
    rows = Rows(Dataset.from_dict({"text": texts}), {"text": "text"})

    class Kept:
        kept = np.arange(len(texts))

        def __len__(self) -> int:
            return len(texts)

    return Split(Kept(), np.array(labels), ("a", "b"), rows=rows)  # type: ignore[arg-type]


def test_tfidf_learns_words() -> None:
    made = [
        ("a good film about a dog", 1),
        ("a bad film about a cat", 0),
        ("bad music and bad light", 0),
        ("good music, good light", 1),
    ]
    train = texts_split([text for text, _ in made] * 5, [label for _, label in made] * 5)
    test = texts_split(["a good cat", "the light is bad"], [1, 0])
    log_p = tfidf_outputs(train, np.arange(20), test, seed=0)
    assert log_p.argmax(dim=1).tolist() == [1, 0]
    assert log_p.exp().sum(dim=1).tolist() == pytest.approx([1.0, 1.0])


def test_characters_are_counted_where_there_is_no_white_space() -> None:
    assert ideographic(["酒店很好，早餐不错", "WiFi 太慢"])
    assert not ideographic(["The hotel 酒店 was fine and the breakfast good"])
    train = texts_split(["酒店很好", "酒店不好", "很好很好", "不好不好"] * 5, [1, 0, 1, 0] * 5)
    assert tfidf_outputs(train, np.arange(20), texts_split(["早餐很好"], [1]), seed=0).argmax() == 1
