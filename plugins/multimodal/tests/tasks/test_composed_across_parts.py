"""Every objective of the core is composed across the parts of a row, three parts too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.objectives.base import JointEmbeddingObjective
from selfsup.registry import registry
from selfsup.registry.builtin.objectives import SPECS
from selfsup.registry.specs import TaskSpec
from selfsup.tasks import PretextTask
from selfsup.testing.kit.cases import small_config
from selfsup.types import Batch, Info

_SMALL: dict[str, dict[str, Any]] = {
    "towers": {"towers": {"right": {"backbone": "sequence/conv"}}, "joint_dim": 16},
    "fusion": {"dim": 16, "depth": 2, "heads": 2},
}
_NOT_COMPOSED = {"next-token", "cpc", "denoising-autoencoder"}
"""The first two need a network that looks back only, and parts have no order; the last a decoder for all parts at once."""

_FUSED = ["cav-mae", "cluster-prediction", "data2vec", "ijepa", "mae", "simmim", "vicregl", "wav2vec2"]
"""Tasks on one network over the tokens of all parts."""


def names() -> list[str]:
    return sorted(spec.id for spec in SPECS if spec.id not in _NOT_COMPOSED)


def build(name: str, info: Info, backbone_options: dict[str, Any] | None = None) -> PretextTask:
    spec: TaskSpec = registry().get("task", f"multimodal/{name}")
    recipe = registry().task_recipe(spec)
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone(spec.backbone, backbone_options or _SMALL[spec.backbone], info)
    return recipe.build(small_config(recipe.config, {}), backbone, info).train()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_every_other_objective_is_composed() -> None:
    found = {spec.objective for spec in registry().tasks.values() if spec.modality == "multimodal"}
    assert set(names()) <= found
    assert not _NOT_COMPOSED & found
    fused = {spec.id for spec in registry().tasks.values() if spec.modality == "multimodal" and spec.backbone == "fusion"}
    assert fused == {f"multimodal/{name}" for name in _FUSED}


@pytest.mark.parametrize("name", ["barlow-twins", "mocov2", "tico", "dino"])
def test_three_parts(name: str, info: Info, batch: Batch) -> None:
    three: Info = {"parts": {**info["parts"], "third": info["parts"]["right"]}}
    rows = {**batch, **{key.replace("right", "third"): value for key, value in batch.items() if key.startswith("right")}}
    task = build(name, three, {"joint_dim": 16})
    output = task(rows, generator())
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in task.backbone.projections.parameters())
    assert isinstance(task.objective, JointEmbeddingObjective)


def test_parts_without_a_joint_space_have_heads_of_their_own(info: Info, batch: Batch) -> None:
    task = build("vicreg", info, {"joint_dim": 0, "towers": {"left": {"options": {"dim": 8}}}})
    assert set(task.projector) == {"left", "right"}
    loss = task(batch, generator()).loss
    loss.backward()
    assert torch.isfinite(loss)
