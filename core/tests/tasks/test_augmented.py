from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import Field

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks.augmented import AugmentedTask, augmented
from selfsup.tasks.base import PretextTask, StepOutput, TaskRecipe, Views, ViewsRecipe
from selfsup.tasks.latent import data2vec_recipe, ijepa_recipe, vjepa_recipe
from selfsup.tasks.masked.masked_modeling import masked_recipe
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.shortcuts import toy_backbone, toy_batch, toy_info
from selfsup.testing.toy.sequences.views import VIEWS
from selfsup.types import Batch, Info


class DoublingConfig(Config):
    """Options of the views."""

    n_global: int = Field(default=2, ge=1)
    """Views."""
    factor: float = 2.0
    """What frames are multiplied with."""


class Doubling(Views):
    """Multiplies frames by a random number between zero and a factor."""

    def __init__(self, config: DoublingConfig, info: Info) -> None:
        super().__init__()
        self.factor, self.n_global, self.n_local = config.factor, config.n_global, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        frames = batch["sequence"]
        drawn = torch.rand(len(frames), 1, 1, generator=generator, device=frames.device)
        return [{**batch, "sequence": frames * self.factor * drawn}]


class Recorder(PretextTask):
    """Keeps what it is called with."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.calls: list[Any] = []

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        self.calls.append(batch["sequence"])
        return StepOutput(self.backbone(batch).pooled.sum(), {"draw": torch.rand((), generator=generator)})

    def after_backward(self, progress: float) -> None:
        self.calls.append(("after_backward", progress))

    def after_step(self, progress: float) -> None:
        self.calls.append(("after_step", progress))

    def encoder_backbone(self) -> Backbone:
        return self.backbone


DOUBLING = ViewsRecipe(DoublingConfig, Doubling)
RECORDING = TaskRecipe(config=DoublingConfig, build=lambda config, backbone, info: Recorder(backbone))


def build(recipe: TaskRecipe, **options: Any) -> Any:
    torch.manual_seed(0)
    return recipe.build(recipe.config(**options), toy_backbone("frames"), toy_info("frames"))


def test_the_task_sees_the_view_and_draws_on_from_the_same_generator() -> None:
    task, batch = build(augmented(RECORDING, DOUBLING)), toy_batch("frames")
    output = task(batch, generator(3))
    drawing = generator(3)
    wanted = batch["sequence"] * 2.0 * torch.rand(len(batch["sequence"]), 1, 1, generator=drawing)
    assert torch.equal(task.task.calls[0], wanted)
    assert output.metrics["draw"] == torch.rand((), generator=drawing)
    task.after_backward(0.25)
    task.after_step(0.5)
    assert task.task.calls[1:] == [("after_backward", 0.25), ("after_step", 0.5)]
    assert task.backbone is task.encoder_backbone() is task.task.backbone


def test_the_state_holds_the_backbone_once() -> None:
    task = build(augmented(RECORDING, DOUBLING))
    assert set(task.state_dict()) == {f"task.{name}" for name in task.task.state_dict()}


def test_views_are_a_section_with_one_view_and_its_own_defaults() -> None:
    recipe = augmented(masked_recipe("mae", decoder_depth=1), VIEWS, {"noise": 0.0})
    config: Any = recipe.config()
    assert (config.decoder_depth, config.views.n_global, config.views.noise) == (1, 1, 0.0)
    assert recipe.config(views={"noise": 0.3}).views.n_global == 1  # type: ignore[attr-defined]
    assert recipe.optimization == masked_recipe("mae").optimization
    assert all(field.description for field in recipe.config.model_fields.values())
    plain = masked_recipe("mae")
    assert augmented(plain, None) is plain
    with pytest.raises(ConfigError, match="no views are given"):
        augmented(plain, None, {"noise": 0.1})
    with pytest.raises(ConfigError, match="nonsense"):
        augmented(plain, VIEWS, {"nonsense": 1})


def test_more_than_one_view_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"views\.n_global=2 and views\.n_local=0: MAE sees one view"):
        build(masked_recipe(views=VIEWS), views={"n_global": 2})


@pytest.mark.parametrize("make", [masked_recipe, ijepa_recipe, vjepa_recipe, data2vec_recipe])
def test_recipes_of_masked_and_latent_tasks_take_views(make: Any) -> None:
    recipe = make(views=VIEWS, view_defaults={"global_share": 0.5}, optimization={"lr": 0.1})
    task, batch = build(recipe), toy_batch("frames")
    assert isinstance(task, AugmentedTask)
    assert recipe.optimization["lr"] == 0.1
    assert task.augmentation(batch, generator())[0]["sequence"].shape[1] == batch["sequence"].shape[1] // 2
    loss = task(batch, generator()).loss
    loss.backward()
    assert torch.isfinite(loss)
    with fake_cuda(task, batch) as fake:
        assert task(fake, None).loss.device.type == "cuda"
