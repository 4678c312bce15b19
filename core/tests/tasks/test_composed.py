"""Tasks composed of an objective and a modality."""

from __future__ import annotations

import importlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import Field

from selfsup.config import Config
from selfsup.errors import SpecError
from selfsup.registry.builtin.families import SPECS as FAMILY_SPECS
from selfsup.registry.builtin.objectives import SPECS
from selfsup.registry.specs import ObjectiveSpec
from selfsup.tasks import ViewsRecipe
from selfsup.tasks.augmented import AugmentedTask
from selfsup.tasks.composed import compose
from selfsup.testing.toy.sequences.corruption import CORRUPTION
from selfsup.testing.toy.sequences.shortcuts import toy_backbone, toy_info
from selfsup.testing.toy.sequences.views import VIEWS


class TwoViewsConfig(Config):
    """Options of the views."""

    n_global: int = Field(default=2, ge=1)
    """Number of global views."""
    n_local: int = Field(default=0, ge=0)
    """Number of local views."""


def load(spec):
    module, _, name = spec.target.partition(":")
    return getattr(importlib.import_module(module), name)


def modality(**parts):
    return SimpleNamespace(**{"views": None, "corruption": None, "single_views": None, **parts})


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_every_joint_embedding_objective_composes(spec):
    views = ViewsRecipe(config=TwoViewsConfig, build=lambda config, info: None)
    recipe = load(spec)
    task = compose(spec, recipe, modality(views=views))
    assert set(task.config.model_fields) >= {"objective", "views"}
    width = "output_dim" if spec.id == "cola" else "hidden_dim"  # its projector is one layer
    assert getattr(task.config.model_validate({"objective": {width: 7}}).objective, width) == 7
    assert task.optimization == recipe.optimization


@pytest.mark.parametrize("spec", FAMILY_SPECS, ids=lambda spec: spec.id)
def test_the_other_objectives_see_the_one_view_that_the_modality_draws(spec):
    parts = modality(single_views=VIEWS, corruption=CORRUPTION)
    recipe = compose(spec, load(spec), parts)
    kind = "ids" if spec.family == "autoregressive" else "frames"
    task = recipe.build(recipe.config(), toy_backbone(kind, causal=spec.family == "autoregressive"), toy_info(kind))
    assert isinstance(task, AugmentedTask)
    assert (task.augmentation.n_global, task.augmentation.n_local) == (1, 0)


def test_composed_optimization_is_what_the_trainer_knows():
    from selfsup.training.run.config import OptimizationConfig

    for spec in SPECS:
        wanted = load(spec).optimization
        config = OptimizationConfig(**wanted)
        assert wanted.keys() <= config.model_fields_set, spec.id


def test_missing_views_and_other_families_are_clear_errors():
    with pytest.raises(SpecError, match="'simclr' needs views, and the modality registers none"):
        compose(SPECS[0], load(SPECS[0]), modality())
    spec = ObjectiveSpec(id="rotate", summary="x", target="a:b", family="transformation", paper="x")
    with pytest.raises(SpecError, match="its target must be a TransformationRecipe; it is a ObjectiveRecipe"):
        compose(spec, load(SPECS[0]), modality())
    with pytest.raises(SpecError, match="'reference', which cannot be composed"):
        compose(replace(spec, family="reference"), load(SPECS[0]), modality())
