from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup.backbones import Backbone
from selfsup.errors import ConfigError, SpecError
from selfsup.registry.specs import TaskSpec
from selfsup.tasks.composed import compose
from selfsup.tasks.masked.masked_modeling import MAE, MAE_FAMILY
from selfsup.tasks.reconstruction import DENOISING_FAMILY, Reconstruction, reconstruction_recipe
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.backbones import SequenceConv, SequenceConvConfig
from selfsup.testing.toy.sequences.corruption import CORRUPTION
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info

KINDS: tuple[Kind, ...] = ("ids", "frames")


class Modality:
    corruption = CORRUPTION
    single_views = None


class Bare:
    corruption = None
    single_views = None


def task_of(kind: Kind, backbone: Backbone | None = None, **defaults: float) -> Reconstruction:
    recipe = reconstruction_recipe(CORRUPTION, **defaults)
    torch.manual_seed(0)
    task = recipe.build(recipe.config(), backbone or toy_backbone(kind), toy_info(kind))
    assert isinstance(task, Reconstruction)
    return task


def spec(family: str) -> TaskSpec:
    return TaskSpec(
        id="sequence/x", summary="x", target="a:b", modality="sequence", family=family, paper="none", composed=True  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_reconstruction_loss_by_hand_in_float64(kind: Kind) -> None:
    task, batch = task_of(kind).double(), toy_batch(kind)
    corrupted = task.corruption(batch, generator(2))
    prediction, target = task.decoder(task.backbone(corrupted.batch)), corrupted.target
    errors = []
    for i, j in np.ndindex(*prediction.shape[:2]):
        if "padding" in batch and batch["padding"][i, j]:
            continue
        p, t = prediction[i, j], target[i, j]
        errors.append(p.exp().sum().log() - p[t] if target.ndim == 2 else ((p - t) ** 2).mean())
    assert_same_loss(task, task(batch, generator(2)).loss, torch.stack(errors).mean())


def test_target_is_what_was_there_and_the_backbone_sees_the_corrupted() -> None:
    task, batch = task_of("ids", noise=0.5), toy_batch("ids")
    corrupted = task.corruption(batch, generator())
    assert torch.equal(corrupted.target, batch["sequence"])
    changed = (corrupted.batch["sequence"] != batch["sequence"]).float().mean()
    assert 0.3 < changed < 0.6
    seen = []
    task.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]["sequence"]))
    task(batch, generator())
    assert torch.equal(seen[0], corrupted.batch["sequence"])


@pytest.mark.parametrize("kind", KINDS)
def test_reconstruction_takes_any_backbone_with_a_map(kind: Kind) -> None:
    task = task_of(kind, SequenceConv(SequenceConvConfig(), toy_info(kind)))
    task(toy_batch(kind), generator()).loss.backward()
    assert all(p.grad is not None for p in task.parameters())


def test_reconstruction_config_has_the_corruptions_section() -> None:
    recipe = reconstruction_recipe(CORRUPTION, optimization={"lr": 0.1}, noise=0.7)
    assert recipe.config().model_dump() == {"corruption": {"noise": 0.7}}
    assert recipe.config(corruption={"noise": 0.2}).model_dump() == {"corruption": {"noise": 0.2}}
    assert recipe.optimization["lr"] == 0.1
    with pytest.raises(ConfigError, match="nois"):
        reconstruction_recipe(CORRUPTION, nois=0.7)


def test_compose_joins_objectives_with_what_they_need() -> None:
    masked = compose(spec("masked-modeling"), MAE_FAMILY, Bare())
    assert isinstance(masked.build(masked.config(), toy_backbone("ids"), toy_info("ids")), MAE)
    assert masked.optimization == MAE_FAMILY.optimization
    denoising = compose(spec("reconstruction"), DENOISING_FAMILY, Modality())
    assert isinstance(denoising.build(denoising.config(), toy_backbone("ids"), toy_info("ids")), Reconstruction)
    with pytest.raises(SpecError, match="registers none"):
        compose(spec("reconstruction"), DENOISING_FAMILY, Bare())
    with pytest.raises(SpecError, match="of family 'transformation'"):
        compose(spec("transformation"), DENOISING_FAMILY, Modality())
    with pytest.raises(SpecError, match="must be a TaskFamilyRecipe; it is a ReconstructionFamilyRecipe"):
        compose(spec("masked-modeling"), DENOISING_FAMILY, Modality())
