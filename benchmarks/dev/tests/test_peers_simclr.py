from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from peers.recipe import Recipe, train_here

from peers.__main__ import main
from peers.simclr import equal_budget, summarise
from selfsup.registry import registry
from selfsup.training.run.resolve import resolve_config

vision = pytest.importorskip("selfsup_vision", reason="needs the vision plugin")


def test_goals_are_differences_paired_by_seed() -> None:
    good = summarise({"untrained": [0.2, 0.3], "selfsup": [0.4, 0.5], "lightly": [0.405, 0.495]})
    assert good["over_untrained"] == pytest.approx(0.2)
    assert good["over_lightly"] == pytest.approx(0.0)
    assert good["reached"]
    assert not summarise({"untrained": [0.3], "selfsup": [0.4]})["reached"]
    assert not summarise({"untrained": [0.2], "selfsup": [0.4], "lightly": [0.42]})["reached"]


def usual(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that are not for the references."""
    return {key: value for key, value in overrides.items() if not key.startswith("supervised.")}


def test_one_budget_for_every_task_of_vision() -> None:
    specs = equal_budget(registry().tasks.values(), dataset="digits", steps=7, batch=32)
    names = {spec.task.partition("/")[2] for spec in specs}
    assert {"simclr", "byol", "rotation", "mae", "ijepa", "jigsaw"} <= names
    assert not names & {"supervised", "random-init"}
    assert {spec.steps for spec in specs} == {7}
    assert {spec.backbone for spec in specs} == {"resnet-narrow", "vit-tiny"}
    for spec in specs:  # every option is one of its task
        resolve_config({"task": spec.task, "data": "digits", "backbone": spec.backbone, **usual(spec.overrides)})


def test_both_sides_train_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightly", reason="needs lightly")
    from peers.lightly_side import train_with_lightly

    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    recipe = Recipe(dataset="digits", width=4, steps=2, batch=32)
    ours, theirs = train_here(recipe, 0, tmp_path / "run"), train_with_lightly(recipe, 0)
    assert ours.processor.info() == theirs.processor.info()
    assert ours.backbone_options == theirs.backbone_options
    shapes = [{name: tuple(t.shape) for name, t in e.backbone.state_dict().items()} for e in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_some_tasks_at_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    arguments = [
        "tasks",
        "--dataset",
        "digits",
        "--task",
        "rotation",
        "--steps",
        "2",
        "--batch",
        "32",
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    (table,) = json.loads(result.stdout)["tables"]
    assert {row["task"] for row in table["rows"]} >= {"vision/rotation", "vision/random-init", "vision/supervised"}
    assert not {row["task"] for row in table["rows"]} & {"vision/simclr", "vision/mae"}
