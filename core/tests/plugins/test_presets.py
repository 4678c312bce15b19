"""Presets: tasks that only change defaults, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from selfsup.errors import PluginError, SpecError
from selfsup.registry import Registry, TaskSpec, preset, registry
from selfsup.testing import check_spec
from selfsup.testing.toy.sequences.installed import installed

WORDS: dict[str, Any] = {"summary": "A task.", "paper": "none", "family": "joint-embedding"}
SEQUENCES = "selfsup.testing.toy.sequences"


@pytest.fixture(scope="module", autouse=True)
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The registry with the toy modality."""
    with installed(tmp_path_factory.mktemp("toy")):
        yield registry()


def recipe_of(house: Registry, spec: TaskSpec, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(house, "plugin", lambda _: house.plugins.records[0])
    return house.task_recipe(spec)


def test_a_preset_changes_the_defaults_of_the_composed_task_and_nothing_else(
    house: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = house.task_recipe(house.get("task", "sequence/byol"))
    changes = {"objective": {"output_dim": 16}, "momentum": {"start": 0.9}}
    spec = preset(
        "byol", id="sequence/small", views={"n_local": 1}, config=changes, optimization={"lr": 0.1}, processor={"length": 7},
        backbone_options={"dim": 3}, **WORDS,
    )  # fmt: skip
    recipe = recipe_of(house, spec, monkeypatch)
    wanted = composed.config(objective={"output_dim": 16}, views={"n_local": 1}).model_dump()
    wanted["momentum"]["start"] = 0.9
    assert recipe.config().model_dump() == wanted
    assert recipe.config(views={"n_global": 2}).views.n_local == 1
    assert (recipe.optimization["lr"], "base_lr" in recipe.optimization) == (0.1, False)
    assert (recipe.processor, recipe.backbone["dim"]) == ({"length": 7}, 3)


def test_a_preset_takes_other_views_and_other_corruptions(house: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = preset(
        id="sequence/x", **{**WORDS, "family": "reconstruction"}, recipe="selfsup.tasks:DENOISING_FAMILY",
        corruption_recipe=f"{SEQUENCES}.corruption:CORRUPTION", views_recipe=f"{SEQUENCES}.views:VIEWS",
    )  # fmt: skip
    assert {"corruption", "views"} <= set(recipe_of(house, taken, monkeypatch).config.model_fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"views": {"n_globl": 2}},
        {"views": {"n_local": -1}},
        {"config": {"objectiv": {}}},
        {"config": {"objective": {"x": 1}}},
    ],
)
def test_an_unknown_default_is_a_fault_of_the_plugin_that_is_named(
    house: Registry, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = preset("byol", id="sequence/small", **WORDS, **changes)
    with pytest.raises(PluginError, match=r"task 'sequence/small' of the plugin 'core' \(selfsup \S+\): its preset is wrong"):
        recipe_of(house, spec, monkeypatch)
    with pytest.raises(PluginError, match="its preset is wrong"):
        check_spec(spec)


@pytest.mark.parametrize(
    "changes", [{"optimization": {"learning_rate": 1.0}}, {"processor": {"no-such": 1}}, {"backbone_options": {"dimm": 3}}]
)
def test_the_kit_refuses_options_that_optimizer_processor_and_backbone_lack(
    house: Registry, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "plugin", lambda _: house.plugins.records[0])
    with pytest.raises(PluginError, match="task 'sequence/small' of the plugin 'core'"):
        check_spec(preset("byol", id="sequence/small", **WORDS, **changes))


def test_a_preset_names_what_it_changes() -> None:
    with pytest.raises(SpecError, match="needs an objective or a recipe"):
        preset(id="sequence/small", **WORDS)
    with pytest.raises(SpecError, match=r"preset.views='nonsense'"):
        preset("byol", id="sequence/small", views_recipe="nonsense", **WORDS)


def test_a_target_of_a_preset_that_cannot_be_imported_is_named(house: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(preset("byol", id="sequence/small", recipe="selfsup.no_such:RECIPE", **WORDS))
    with pytest.raises(PluginError, match=r"its preset.recipe 'selfsup.no_such:RECIPE' cannot be imported"):
        recipe_of(house, spec, monkeypatch)


def test_a_recipe_is_composed_once_and_again_when_a_part_has_changed(house: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = house.get("task", "sequence/byol")
    first = house.task_recipe(spec)
    assert house.task_recipe(spec) is first
    monkeypatch.setitem(house.modalities, "sequence", replace(house.modalities["sequence"], summary="Changed."))
    assert house.task_recipe(spec) is not first
