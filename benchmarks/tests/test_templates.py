"""From an objective and a modality that other packages register to lines of the suites, and a row of the leaderboard."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfsup.cli.main import program
from selfsup.errors import SpecError
from selfsup.registry import Registry, registry
from selfsup.registry.specs import BenchmarkSpec
from selfsup.testing.toy.sequences.installed import installed, write_distribution
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors import Job
from selfsup_bench.planning.make_plan import choose, make_plan, modules_of
from selfsup_bench.planning.plan import Plan
from selfsup_bench.planning.templates import expand, has_place
from selfsup_bench.records.record import RecordStore
from selfsup_bench.runner import run

PLUGIN = """
from selfsup.registry.hookspecs import hookimpl
from selfsup.registry.specs import BenchmarkSpec, ObjectiveSpec

SELFSUP_API = 1
SMALL = {
    "optimization.batch_size": 32, "precision": "32",
    "evaluators.few-labels.draws": 1, "scratch.epochs": 1, "scratch.min_steps": 1,
}
OWN = {"simclr.objective.hidden_dim": 16}


@hookimpl
def selfsup_objectives():
    return [
        ObjectiveSpec(
            id="wink", summary="NT-Xent by another name.", target="selfsup.objectives.nt_xent:RECIPE",
            family="joint-embedding", paper="none: a test",
        )
    ]


@hookimpl
def selfsup_benchmarks():
    shared = dict(dataset="toy-sequences", steps=2, overrides={**SMALL, **OWN})
    return [
        BenchmarkSpec(
            id="toy-simclr", summary="x", task="sequence/simclr", suites=("quick",), dataset="toy-sequences", steps=2,
            overrides=SMALL, backbone="sequence/conv",
        ),
        BenchmarkSpec(
            id="toy-others", summary="* on synthetic sequences.", task="sequence/*", suites=("quick",), objectives="others",
            backbone="sequence/conv", **shared,
        ),
        BenchmarkSpec(
            id="toy-all", summary="* on synthetic sequences.", task="sequence/*", suites=("quick", "matrix"), objectives="all",
            backbone="sequence/conv", **shared,
        ),
        BenchmarkSpec(
            id="toy-tokens", summary="Tokens", task="sequence/*", suites=("matrix",), objectives="all",
            backbone="sequence/transformer", **shared,
        ),
    ]
"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry with a modality and an objective of packages that are not selfsup's own."""
    site = tmp_path / "site"
    write_distribution(site)
    (site / "wink_plugin.py").write_text(PLUGIN)
    info = site / "wink-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wink\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[selfsup]\nwink = wink_plugin\n")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)
    with installed(site):
        yield registry()
    sys.modules.pop("wink_plugin", None)


def suite(name: str, found: Registry) -> dict[str, BenchmarkSpec]:
    """The lines of the toy modality in a suite, by task."""
    chosen = choose(expand(found.benchmarks.values(), found), suite=name, modalities=["sequence"])
    return {spec.task.partition("/")[2]: spec for spec in chosen}


def test_an_objective_of_another_package_has_a_line_in_the_quick_suite(found: Registry) -> None:
    quick = suite("quick", found)
    assert quick["simclr"].id == "toy-simclr"
    assert quick["wink"].id == "toy-others-wink"
    assert quick["wink"].summary == "wink on synthetic sequences."
    assert quick["byol"].id == "toy-all-byol"  # the later template takes only what no other line has
    for spec in quick.values():
        assert not spec.is_template
    assert suite("matrix", found)["wink"].id == "toy-all-wink"


def test_a_template_stands_for_what_its_backbone_can_learn(found: Registry) -> None:
    matrix = suite("matrix", found)
    assert {"simclr", "wink", "vicreg", "barlow-twins"} <= {name for name, s in matrix.items() if s.backbone == "sequence/conv"}
    tokens = {name for name, spec in matrix.items() if spec.backbone == "sequence/transformer"}
    assert {"mae", "ijepa", "vicregl"} <= tokens
    # What needs a teacher or labels, is a reference, or must not see what it tells, is no line.
    assert not {"distill", "supervised", "random-init", "next-token", "cpc", "segment-order"} & matrix.keys()
    assert has_place(found.get("task", "sequence/next-token"), "sequence/causal", found)
    assert matrix["mae"].summary == "mae: Tokens"


def test_options_of_a_template_for_one_objective_are_for_its_task_alone(found: Registry) -> None:
    matrix = suite("matrix", found)
    assert matrix["simclr"].overrides["objective.hidden_dim"] == 16
    assert not [key for key in matrix["wink"].overrides if "hidden_dim" in key]
    assert matrix["wink"].overrides["optimization.batch_size"] == 32


def test_templates_of_a_modality_that_is_not_installed_stay(found: Registry) -> None:
    template = BenchmarkSpec(
        id="x", summary="x", task="smell/*", dataset="d", suites=("matrix",), objectives="all", steps=1
    )  # fmt: skip
    assert expand([template], found) == [template]


def test_a_plan_says_which_benchmarks_were_not_chosen(found: Registry, tmp_path: Path) -> None:
    quick = suite("quick", found)
    planned = make_plan([quick["simclr"], quick["wink"]], suite="quick", seeds=(0,), registry=found, device="cpu", threads=1)
    left = set(planned.plan.not_chosen)
    assert {"toy-all-byol", "toy-all-vicreg"} <= left
    assert not {"toy-simclr", "toy-others-wink", "toy-others"} & left
    every = list(quick.values())
    whole = make_plan(every, suite="quick", seeds=(0,), registry=found, device="cpu", threads=1).plan
    assert {spec.id for spec in every} == {line.spec.id for line in whole.lines}
    assert not [id for id in whole.not_chosen if id.startswith("toy-")]
    planned.plan.write(tmp_path)
    assert Plan.read(tmp_path) == planned.plan


@pytest.mark.slow
def test_an_objective_of_another_package_has_a_row_on_the_leaderboard(found: Registry, tmp_path: Path, in_process: Any) -> None:
    specs = [suite("quick", found)[name] for name in ("simclr", "wink")]
    planned = make_plan(specs, suite="quick", seeds=(0,), registry=found, device="cpu", threads=1)
    board = run(planned, tmp_path / "out", make_executor=in_process, device="cpu")
    assert board.failures == ()
    rows = {row.task: row for table in board.tables for row in table.rows if row.kind == "task"}
    score = rows["sequence/wink"].score
    assert score is not None
    assert 0 <= score.mean <= 1
    assert rows["sequence/wink"].benchmark == "toy-others-wink"


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_process_that_has_run_other_cells_gives_the_same_numbers(found: Registry, tmp_path: Path) -> None:
    """On a GPU a process runs cell after cell: nothing of the earlier ones may reach the later ones."""
    planned = make_plan([suite("quick", found)["simclr"]], suite="quick", seeds=(0,), registry=found, device="cpu", threads=1)
    cells = {cell.kind: cell for cell in planned.plan.cells()}
    records = {}
    for place, order in (("first", ("task",)), ("last", ("scratch", "supervised", "raw", "task"))):
        for kind in order:
            key = planned.plan.key(cells[kind])
            job = Job(key, cells[kind], tmp_path / place, planned.circumstances[key])
            assert work(job.as_dict()) == "done"
        record = RecordStore(tmp_path / place).read(planned.plan.key(cells["task"]))
        assert record is not None
        records[place] = record
    assert records["first"].metrics == records["last"].metrics
    assert records["first"].curve == records["last"].curve


def test_modules_of_cells_are_known_before_they_are_planned(found: Registry) -> None:
    specs = list(suite("quick", found).values())
    modules = modules_of(
        found, [*specs, BenchmarkSpec(id="x", summary="x", task="smell/a", dataset="d", suites=("s",), steps=1)]
    )
    assert {"selfsup.testing.toy.sequences.processor", "selfsup.testing.toy.sequences.backbones"} <= set(modules)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "toy/*", "dataset": "d", "steps": 1}, "a template needs both"),
        ({"task": "toy/a", "dataset": "d", "steps": 1, "objectives": "all"}, "a template needs both"),
        ({"task": "toy/a", "steps": 1}, "needs a data set; only the suite 'own' has none"),
        ({"task": "toy/a", "dataset": "d"}, "needs either steps or epochs"),
        ({"task": "toy/a", "suites": ("own",), "steps": 1, "epochs": 1}, "needs either steps or epochs"),
        ({"task": "toy/a", "suites": ("own", "quick"), "steps": 1}, "only the suite 'own' has none"),
    ],
)
def test_benchmarks_that_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        BenchmarkSpec(**{"id": "x", "summary": "x", "suites": ("quick",), **given})  # type: ignore[arg-type]


def test_the_users_own_data_needs_neither_a_name_nor_a_budget() -> None:
    spec = BenchmarkSpec(id="x", summary="x", task="toy/a", suites=("own",))
    assert (spec.dataset, spec.steps, spec.epochs, spec.headline) == ("", 0, 0, "few-labels.accuracy@10")


def test_list_says_what_templates_stand_for(found: Registry) -> None:
    result = CliRunner().invoke(program, ["list", "benchmarks", "--filter", "toy-"])
    lines = {line.split("\t")[0]: line.split("\t")[1:4] for line in result.stdout.splitlines()}
    assert lines["ID"] == ["SUITES", "TASK", "DATASET"]
    assert lines["toy-others"] == ["quick", "sequence/* (objectives of other packages)", "toy-sequences"]
    assert lines["toy-all"] == ["quick, matrix", "sequence/* (every objective)", "toy-sequences"]
    assert lines["toy-simclr"] == ["quick", "sequence/simclr", "toy-sequences"]
