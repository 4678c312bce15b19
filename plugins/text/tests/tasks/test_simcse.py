from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selfsup.objectives.nt_xent import nt_xent
from selfsup.registry import registry
from selfsup.testing.kit.task_checks import generator

RECIPE = registry().task_recipe(registry().get("task", "text/simcse"))


def task_of(encoder: Any, info: Any, **options: Any) -> Any:
    backbone = encoder(layers=2)
    torch.manual_seed(1)
    return RECIPE.build(RECIPE.config(**options), backbone, info)


def test_the_views_are_the_same_text_under_other_dropout(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info), texts()
    views = task.views(batch, generator())
    assert len(views) == 2
    for view in views:
        assert all(torch.equal(view[key], batch[key]) for key in ("ids", "padding", "words"))
    pooled = [task.backbone(view).pooled for view in views]
    assert not torch.allclose(pooled[0], pooled[1])
    assert torch.equal(pooled[0], task.backbone(views[0]).pooled)
    plain = task_of(encoder, info, views={"dropout": 0.0})
    same = [plain.backbone(view).pooled for view in plain.views(batch, generator())]
    torch.testing.assert_close(same[0], same[1])


def test_simcse_loss_is_nt_xent_behind_one_layer_of_tanh(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info), texts()
    first, second = (task.projector(task.backbone(view).pooled) for view in task.views(batch, generator(3)))
    assert [type(layer).__name__ for layer in task.projector] == ["Linear", "Tanh"]
    assert task(batch, generator(3)).loss.item() == pytest.approx(nt_xent(first, second, 0.05).item(), rel=1e-4)


def test_simcse_says_what_guessing_would_give(encoder: Any, texts: Any, info: Any) -> None:
    metrics = task_of(encoder, info)(texts(), generator()).metrics
    assert metrics["chance_loss"].item() == pytest.approx(math.log(15))
