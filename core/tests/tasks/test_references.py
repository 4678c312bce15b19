"""Random initialisation and supervised training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from selfsup.backbones import Backbone, Encoded
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Views, ViewsRecipe
from selfsup.tasks.references import random_init, supervised


class PointBackbone(Backbone):
    modality = "points"
    embed_dim = 8

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, self.embed_dim)

    def forward(self, batch):
        return Encoded(self.layer(batch["x"]).relu())


class ShiftConfig(Config):
    """Options of the shift."""

    shift: float = 0.0
    """What is added."""


class Shift(Views):
    n_global, n_local = 1, 0

    def __init__(self, config, info):
        super().__init__()
        self.config = config

    def forward(self, batch, generator):
        assert "label" not in batch
        return [{"x": batch["x"] + self.config.shift}]


VIEWS = ViewsRecipe(config=ShiftConfig, build=Shift)


def labelled():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(32) % 3
    return {"x": nn.functional.one_hot(label, 4) + 0.1 * torch.randn(32, 4, generator=generator), "label": label}


def test_random_init_asks_for_no_steps_and_changes_nothing():
    recipe = random_init()
    assert recipe.optimization == {"steps": 0}
    backbone = PointBackbone()
    task = recipe.build(recipe.config(), backbone, {})
    assert task.encoder_backbone() is backbone
    output = task({"x": torch.randn(5, 4)}, None)
    output.loss.backward()
    assert float(output.loss.detach()) == 0
    assert not any(parameter.grad.any() for parameter in backbone.parameters())


def test_supervised_learns_the_labels():
    recipe = supervised(VIEWS)
    torch.manual_seed(0)
    task = recipe.build(recipe.config(), PointBackbone(), {"n_classes": 3})
    optimizer = torch.optim.Adam(task.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        output = task(labelled(), None)
        output.loss.backward()
        optimizer.step()
    assert float(output.metrics["accuracy"]) == 1.0
    assert float(output.loss.detach()) < 0.1


def test_supervised_uses_its_view_and_its_smoothing():
    recipe = supervised(VIEWS)
    torch.manual_seed(0)
    backbone = PointBackbone()
    losses = []
    for options in ({}, {"views": {"shift": 2.0}}, {"objective": {"label_smoothing": 0.3}}):
        torch.manual_seed(1)
        task = recipe.build(recipe.config.model_validate(options), backbone, {"n_classes": 3})
        losses.append(float(task(labelled(), None).loss.detach()))
    assert len(set(losses)) == 3


def test_supervised_works_without_views():
    recipe = supervised(None)
    task = recipe.build(recipe.config(), PointBackbone(), {"n_classes": 3})
    assert torch.isfinite(task(labelled(), None).loss)
    assert set(recipe.config.model_fields) == {"objective"}


def test_supervised_without_labels_is_a_clear_error():
    recipe = supervised(VIEWS)
    with pytest.raises(ConfigError, match="name the label column"):
        recipe.build(recipe.config(), PointBackbone(), {})
    with pytest.raises(ConfigError, match="at least two classes, and the data has 1"):
        recipe.build(recipe.config(), PointBackbone(), {"n_classes": 1})
    task = recipe.build(recipe.config(), PointBackbone(), {"n_classes": 3})
    with pytest.raises(ConfigError, match="the batch has none"):
        task({"x": torch.randn(5, 4)}, None)
