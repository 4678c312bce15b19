"""What a cell's key is made of: whatever code determines the result, and no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfsup.registry import Registry, registry
from selfsup.registry.specs import BenchmarkSpec
from selfsup.testing.toy.sequences.installed import installed
from selfsup_bench.cells.cell import Cell
from selfsup_bench.executors.local import PRELOAD
from selfsup_bench.planning import provenance
from selfsup_bench.planning.make_plan import make_plan, target_modules

PLUGIN = """
from selfsup.registry.hookspecs import hookimpl
from selfsup.registry.specs import ObjectiveSpec

SELFSUP_API = 1


@hookimpl
def selfsup_objectives():
    return [
        ObjectiveSpec(
            id="nod", summary="NT-Xent by another name.", target="nod_loss:RECIPE", family="joint-embedding", paper="none"
        )
    ]
"""
LOSS = "from selfsup.objectives.nt_xent import RECIPE\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where a package with an objective is, apart from its plugin's module."""
    folder = tmp_path / "site"
    info = folder / "nod-0.1.dist-info"
    info.mkdir(parents=True)
    (folder / "nod_plugin.py").write_text(PLUGIN)
    (folder / "nod_loss.py").write_text(LOSS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nod\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[selfsup]\nnod = nod_plugin\n")
    return folder


@pytest.fixture
def found(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)
    with installed(site):
        yield registry()
    for module in ("nod_plugin", "nod_loss"):
        sys.modules.pop(module, None)


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the harness that may be edited."""
    folder = tmp_path / "harness"
    shutil.copytree(provenance.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "FOLDER", folder)
    return folder


def keys(found: Registry, *, task: str = "sequence/nod", dataset: str = "toy-sequences") -> dict[str, str]:
    """The keys of a benchmark's cells, by kind."""
    spec = BenchmarkSpec(
        id="toy", summary="x", task=task, dataset=dataset, suites=("toy",), steps=2, evaluators=("few-labels", "linear")
    )
    plan = make_plan([spec], suite="toy", seeds=(0,), registry=found, device="cpu", threads=1).plan
    return {cell.kind: plan.key(cell) for cell in plan.cells()}


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "# edited\n")


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {kind for kind in before if before[kind] != after[kind]}


def test_an_edited_objective_of_another_package_changes_the_keys_of_its_task_alone(site: Path, found: Registry) -> None:
    before, others = keys(found), keys(found, task="sequence/simclr")
    assert keys(found) == before
    edit(site / "nod_loss.py")
    assert changed(before, keys(found)) == {"task"}
    assert changed(others, keys(found, task="sequence/simclr")) == set()


def test_a_new_version_of_an_objectives_package_changes_its_keys(site: Path, found: Registry) -> None:
    spec = BenchmarkSpec(id="toy", summary="x", task="sequence/nod", dataset="toy-sequences", suites=("toy",), steps=2)
    planned = make_plan([spec], suite="toy", seeds=(0,), registry=found, device="cpu", threads=1)
    by_kind = {cell.kind: planned.circumstances[planned.plan.key(cell)] for cell in planned.plan.cells()}
    assert by_kind["task"]["versions"]["nod"] == "0.1"
    assert "nod" not in by_kind["supervised"]["versions"]
    assert {"selfsup-bench", "selfsup", "scikit-learn"} <= by_kind["raw"]["versions"].keys()
    assert "nod_loss" in target_modules(found, planned.plan.cells()), "imported before the cells are forked"


def test_an_edit_of_what_measures_or_makes_data_changes_every_key_and_an_edit_of_the_tables_none(
    found: Registry, harness: Path
) -> None:
    for name in (*provenance.HARNESS[:-1], "datasets/sounds.py"):
        before = keys(found, task="sequence/simclr")
        edit(harness / name)
        assert changed(before, keys(found, task="sequence/simclr")) == before.keys(), name
    before = keys(found, task="sequence/simclr")
    for name in ("report/page.py", "leaderboard/tables.py", "leaderboard/verdicts.py", "commands.py", "suites/vision.py"):
        edit(harness / name)
    assert changed(before, keys(found, task="sequence/simclr")) == set()


def test_a_package_of_one_module_is_hashed(site: Path, found: Registry) -> None:
    before = provenance.code_digest(["nod_loss"])
    edit(site / "nod_loss.py")
    assert provenance.code_digest(["nod_loss"]) != before
    assert provenance.code_digest(["selfsup_none_such"]) != provenance.code_digest(["selfsup_none_other"])


def test_rows_that_join_parts_count_the_code_of_their_modalities(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("selfsup_multimodal")
    seen: list[set[str]] = []

    def digest(packages: set[str]) -> str:
        seen.append(set(packages))
        return "x"

    monkeypatch.setattr(provenance, "code_digest", digest)
    cells = keys(registry(), task="multimodal/clip", dataset="not-there")
    assert 1 <= len(seen) < len(cells), "sources are read once for cells that share them"
    assert all({"selfsup_multimodal", "selfsup_vision", "selfsup_text"} <= packages for packages in seen)


def test_the_commit_is_that_of_the_checkout_which_tracks_the_file(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    tracked, installed = tmp_path / "tracked.py", tmp_path / "installed.py"
    tracked.write_text("x = 1")
    assert provenance.commit_of(tracked) == ""
    git("init")
    git("add", "tracked.py")
    git("commit", "-m", "One")
    installed.write_text("x = 1")
    assert provenance.commit_of(tracked) == git("rev-parse", "--short", "HEAD")
    assert provenance.commit_of(installed) == ""
    tracked.write_text("x = 2")
    assert provenance.commit_of(tracked).endswith("-dirty")


def test_what_cells_import_is_imported_before_they_are_forked() -> None:
    found = registry()
    cells = [Cell(kind="task", modality="vision", task="vision/simclr", dataset="digits", evaluators=("linear",), seed=0)]
    modules = {*target_modules(found, cells), *PRELOAD}
    assert found.get("modality", "vision").views.partition(":")[0] in modules
    assert {"selfsup.training.run.process", "selfsup_bench.cells.measure", "selfsup.evaluation.evaluate"} <= modules
