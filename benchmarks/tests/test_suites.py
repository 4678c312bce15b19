"""The suites are well-formed: every line can be planned, every option exists, and data sets are what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfsup.data import load_source
from selfsup.errors import SelfsupError, SourceError
from selfsup.evaluation import choose_evaluators
from selfsup.registry import Registry, registry
from selfsup.registry.specs import BenchmarkSpec
from selfsup.training.run.resolve import resolve_config
from selfsup.validation import validated
from selfsup_bench.cells.cell import FEW_LABELS, Cell, is_raw, options_under
from selfsup_bench.cells.lines import lines
from selfsup_bench.cells.run_cell import run_options
from selfsup_bench.datasets import external as elsewhere
from selfsup_bench.own_data.candidates import candidates
from selfsup_bench.planning.make_plan import choose, make_plan
from selfsup_bench.planning.templates import expand
from selfsup_bench.suites import BENCHMARKS
from selfsup_bench.suites.shared import one_optimizer

MODALITIES = ("vision", "text", "tabular", "audio", "video", "multimodal")
SUITES = ("quick", "real", "matrix", "tasks", "label-noise", "standard", "case-studies")
ONE_OPTIMIZER = ("quick", "real", "matrix", "tasks", "label-noise")
"""Suites of one optimizer for all: no task keeps a part of its paper's schedule."""
WANTED = {
    "optimizer": "adamw", "schedule": "cosine", "warmup_fraction": 0.1, "warmup_epochs": None, "final_lr_fraction": 0.0,
    "weight_decay": 1e-4, "weight_decay_end": None, "betas": (0.9, 0.999), "eps": 1e-8, "bias_lr_scale": 1.0, "ema": 0.0,
    "accumulate": 1,
}  # fmt: skip
"""Written out, so that a default that moves is seen. Fields that AdamW does not read are left out."""
OWN = {
    "lr", "epochs", "steps", "max_steps", "batch_size", "clip", "clip_per_parameter",
    "base_lr", "momentum", "trust_coefficient", "adapt_biases",
}  # fmt: skip
"""What lines of a modality may differ in: rate and budget, which a suite sets by line, what each task keeps, and the fields
that AdamW does not read."""
PAGES = Path(__file__).parents[2] / "docs" / "benchmark"
PERMISSIVE = ("BSD", "MIT", "Apache", "CC BY 4.0", "CC0", "PSF")


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    for name in MODALITIES:
        pytest.importorskip(f"selfsup_{name}", reason=f"needs the {name} plugin")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)
    return registry()


def suite(name: str, found: Registry) -> list[BenchmarkSpec]:
    """The lines of a suite whose modality is installed."""
    specs = choose(expand(found.benchmarks.values(), found), suite=name)
    return [spec for spec in specs if spec.task.partition("/")[0] in found.modalities]


def check(cell: Cell) -> dict[str, Any]:
    """Every option of a cell is one of its task, backbone, evaluators; returns how it is optimized."""
    options = options_under("evaluators.", cell.overrides)
    choose_evaluators(cell.evaluators, options)
    if views := options.get(FEW_LABELS, {}).get("finetune", {}).get("views"):
        recipe = registry().modality_objects(cell.modality).supervised_views
        assert recipe is not None
        validated(recipe.config, views, what=f"views of {cell.kind}")
    if not is_raw(cell.kind):
        options = run_options(cell)
        overrides = options.pop("overrides")
        given = {key: value for key, value in options.items() if value != ""}
        return resolve_config({**overrides, **given, "data": "rows"}).optimization.model_dump()
    return {}


@pytest.mark.parametrize("name", SUITES)
def test_every_line_of_a_suite_can_be_planned(found: Registry, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(
        "selfsup_bench.planning.provenance.DataFingerprints.of", lambda self, modality, dataset, overrides: ("x", "")
    )
    specs = suite(name, found)
    planned = make_plan(specs, suite=name, seeds=(0,), registry=found, device="cpu", threads=1)
    assert planned.left_out == ()
    for spec in specs:
        assert spec.headline.partition(".")[0] in spec.evaluators, spec.id
    first: dict[str, dict[str, Any]] = {}
    # Data sets differ in values and not in the options that are set.
    cells = {(cell.task, cell.kind, cell.backbone, *sorted(cell.overrides)): cell for cell in planned.plan.cells()}
    for cell in cells.values():
        settings = check(cell)
        if name in ONE_OPTIMIZER and cell.kind in ("task", "supervised"):
            assert {key: settings[key] for key in WANTED} == WANTED, cell.name
            own = {key: value for key, value in settings.items() if key not in OWN}
            assert own == first.setdefault(cell.modality, own), cell.name


def test_every_task_of_a_plugin_has_a_line_in_the_suite_of_tasks(found: Registry) -> None:
    lines = {spec.task for spec in suite("tasks", found)}
    left_out = {"multimodal/cav-mae", "multimodal/lit"}  # sounds with pictures, and a frozen tower: no data set of theirs
    for task in found.tasks.values():
        composed = task.id == f"{task.modality}/{task.objective}"
        if task.family != "reference" and not composed and task.modality in MODALITIES:
            assert (task.id in lines) != (task.id in left_out), task.id


def test_every_line_of_the_suite_of_tasks_has_one_that_fine_tunes(found: Registry) -> None:
    tasks = {spec.id.removeprefix("tasks-"): spec for spec in suite("tasks", found)}
    tuned = {spec.id.removeprefix("finetune-"): spec for spec in suite("finetune", found)}
    assert tasks.keys() == tuned.keys()
    assert len({spec.dataset for spec in tuned.values()}) > 10
    first: dict[str, BenchmarkSpec] = {}
    for name, spec in tuned.items():
        first.setdefault(spec.dataset, spec)
        assert (spec.task, spec.steps, spec.backbone) == (tasks[name].task, tasks[name].steps, tasks[name].backbone)
    for spec in first.values():
        options = options_under("evaluators.", spec.overrides)[FEW_LABELS]
        assert (options["method"], options["draws"], len(options["per_class"]) + len(options["shares"])) == ("finetune", 3, 1)
        (line,) = lines([spec], (0,), {spec.id: (spec.task.partition("/")[0], spec.backbone)})
        for cells in line.cells.values():
            check(cells[0])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("modality", MODALITIES)
def test_what_is_tried_on_own_data_can_be_trained(found: Registry, modality: str, device: str) -> None:
    tried = candidates(found, modality, names=(), device=device)
    assert 3 <= len(tried) <= 4
    for spec in tried:
        (line,) = lines([spec], (0,), {spec.id: (modality, spec.backbone)})
        for cells in line.cells.values():
            check(cells[0])
        assert not any(key.startswith("gpu.") for key in spec.overrides)


def test_quick_sets_every_modality_and_has_one_protocol(found: Registry) -> None:
    for spec in suite("quick", found):
        if spec.task.partition("/")[0] in MODALITIES:
            assert spec.headline == "few-labels.accuracy@10"
            assert spec.evaluators[:2] == ("few-labels", "linear")
        assert found.get("dataset", spec.dataset).embedded
    methods = {spec.task for spec in suite("quick", found)}
    assert {"vision/simclr", "tabular/simclr", "tabular/vicreg", "multimodal/clip"} <= methods
    assert {"text/word2vec", "text/simclr", "text/vicreg", "audio/simclr", "video/simclr"} <= methods


def test_training_from_scratch_does_not_start_from_a_probe(found: Registry) -> None:
    for modality in MODALITIES:
        for name in ("quick", "real"):
            specs = [spec for spec in suite(name, found) if spec.task.startswith(f"{modality}/")]
            assert specs
            for spec in specs:
                (line,) = lines([spec], (0,), {spec.id: (modality, spec.backbone)})
                options = options_under("evaluators.", line.cells["scratch"][0].overrides)["few-labels"]
                assert options["finetune"]["head"] == "zeros", spec.id


def test_the_matrix_holds_every_objective_of_the_quick_suite(found: Registry) -> None:
    matrix = {spec.task for spec in suite("matrix", found)}
    for modality in MODALITIES:
        own = {name for name in matrix if name.startswith(f"{modality}/")}
        assert len(own) > 20, modality
        assert {f"{modality}/{name}" for name in ("simclr", "vicreg", "byol", "mae", "ijepa")} <= own


def test_embedded_data_may_be_passed_on(found: Registry) -> None:
    quick = {spec.dataset for spec in suite("quick", found)}
    for name in quick:
        spec = found.get("dataset", name)
        assert spec.embedded
        assert any(licence in spec.licence for licence in PERMISSIVE), spec.licence


@pytest.mark.parametrize("name", ["captioned-digits", "sound-trends"])
def test_embedded_data_is_the_same_whenever_it_is_made(
    found: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    modality = found.get("modality", found.get("dataset", name).modality)
    monkeypatch.setattr("selfsup_bench.datasets.sounds._SOUNDS", 10)
    prints = []
    for place in ("first", "second"):
        monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / place))
        prints.append([load_source(name, modality=modality, split=split).fingerprint for split in ("train", "test")])
    assert prints[0] == prints[1]


def test_parity_and_table_are_the_digits(found: Registry, embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(embedded))
    load = {name: found.load(found.get("dataset", name)) for name in ("mnist-5k", "mnist-parity", "mnist-table")}
    digits, parity, table = (load[name]("test") for name in ("mnist-5k", "mnist-parity", "mnist-table"))
    assert parity.features["label"].names == ["even", "odd"]
    assert len(parity) == len(table) == 1000
    assert np.bincount(parity["label"]).tolist() == [500, 500]
    label = {row["bytes"]: digit for row, digit in zip(digits.data.column("image").to_pylist(), digits["label"], strict=True)}
    pictures = parity.data.column("image").to_pylist()
    assert [label[row["bytes"]] % 2 for row in pictures] == parity["label"]
    assert table["label"] == digits["label"]
    cells = {key: value for key, value in table[3].items() if key != "label"}
    image = np.asarray(digits[3]["image"], dtype=float)
    assert len(cells) == 196
    assert cells["pixel_5_7"] == image[10:12, 14:16].mean()


@pytest.mark.parametrize("name", [spec.id for spec in elsewhere.SPECS])
def test_data_that_no_package_ships_says_where_it_belongs(found: Registry, name: str) -> None:
    modality = found.get("modality", found.get("dataset", name).modality)
    with pytest.raises(SourceError, match=rf"{name} comes with no package. Set SELFSUP_DATA .*{modality.id}/{name}/train"):
        load_source(name, modality=modality, split="train")


def test_data_that_no_package_ships_has_its_label(found: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "tabular" / "adult"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("age,income\n" + "".join(f"{20 + i},{'>50K' if i % 3 else '<=50K'}\n" for i in range(20)))
    monkeypatch.setenv("SELFSUP_DATA", str(tmp_path / "data"))
    rows = load_source("adult", modality=found.get("modality", "tabular"), split="train", needs_label=True)
    assert rows.label == "income"


@pytest.mark.parametrize("key", ["task.no_such", "processor.no_such", "scratch.no_such", "supervised.views.no_such"])
def test_an_option_that_does_not_exist_is_found(found: Registry, key: str) -> None:
    spec = BenchmarkSpec(
        id="x", summary="x", task="text/word2vec", dataset="library-docs", suites=("s",), steps=1, overrides={key: 1}
    )  # fmt: skip
    (line,) = lines([spec], (0,), {"x": ("text", "word-vectors")})
    with pytest.raises(SelfsupError, match="no_such"):
        _ = [check(cells[0]) for cells in line.cells.values()]


@pytest.mark.parametrize("name", ["quick", "real"])
def test_the_page_names_every_data_set_of_a_suite(found: Registry, name: str) -> None:
    section = (PAGES / "suites.md").read_text(encoding="utf-8")
    (item,) = re.findall(rf"^- `{name}`:.*?(?=^- )", section, flags=re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"[\w-]+", item))
    assert {spec.dataset for spec in suite(name, found)} <= named


def test_lines_of_a_data_set_differ_in_the_rate_alone_and_only_where_the_suite_says_so() -> None:
    rates = {"text/word2vec": 2e-2, "video/vjepa": 2e-4}
    for spec in (spec for spec in BENCHMARKS if "tasks" in spec.suites):
        given = {key: value for key, value in spec.overrides.items() if key.startswith("optimization.")}
        lr = rates.get(spec.task, 2e-3 if spec.dataset == "moving-digits" else 1e-3)
        wanted = {**one_optimizer(lr=lr), "optimization.batch_size": given["optimization.batch_size"]}
        assert given == {key: value for key, value in wanted.items() if key.startswith("optimization.")}, spec.id
