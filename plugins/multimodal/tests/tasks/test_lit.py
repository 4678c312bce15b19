"""Contrast with one tower locked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.backbones import Backbone
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.types import Batch, Info
from selfsup_multimodal.joined_info import joined_parts
from selfsup_multimodal.tasks.lit import LIT, LockedContrast, locked_part


def towers(info: Info, **options: Any) -> Backbone:
    torch.manual_seed(0)
    chosen = {"joint_dim": 8, "towers": {"right": {"backbone": "sequence/conv"}}, **options}
    backbone, _ = registry().build_backbone("towers", chosen, info)
    return backbone


def task_of(info: Info, part: str = "right") -> LockedContrast:
    task = LIT.build(LIT.config(lock={"part": part}), towers(info), info)
    assert isinstance(task, LockedContrast)
    return task.train()


def test_the_locked_tower_stays_and_the_rest_learns(info: Info, batch: Batch) -> None:
    task = task_of(info)
    before = {name: value.clone() for name, value in task.backbone.part("right").state_dict().items()}
    optimizer = torch.optim.AdamW([parameter for parameter in task.parameters() if parameter.requires_grad], lr=1e-2)
    task(batch, None).loss.backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in task.backbone.part("right").state_dict().items())
    trained = {name.split(".")[1] for name, parameter in task.backbone.named_parameters() if parameter.grad is not None}
    assert trained == {"left", "right"}  # of the right one the projection
    assert task.backbone.projections["right"].weight.grad.any()


def test_a_locked_tower_that_knows_nothing_is_told(info: Info) -> None:
    task = task_of(info)
    assert "the tower of right is locked with random weights" in task.fit_to_data(100, 10)
    assert "--init right=RUN" in task.fit_to_data(100, 10)
    task.backbone.part("right").started_from = "elsewhere"
    assert task.fit_to_data(100, 10) == ""


def test_a_part_is_named_by_itself_or_its_modality(info: Info) -> None:
    parts = joined_parts({"parts": {**info["parts"], "seen": {"modality": "vision", "info": {}}}})
    assert locked_part("left", parts) == "left"
    assert locked_part("vision", parts) == "seen"
    with pytest.raises(ConfigError, match=r"lock.part=sequence matches several parts of these rows: name one of left, right"):
        locked_part("sequence", parts)
    with pytest.raises(ConfigError, match=r"lock.part=audio matches no part of these rows"):
        locked_part("audio", parts)


def test_fused_tokens_have_no_tower_to_lock(info: Info) -> None:
    backbone, _ = registry().build_backbone("fusion", {}, info)
    with pytest.raises(ConfigError, match="no network of its own"):
        LIT.build(LIT.config(lock={"part": "left"}), backbone, info)
