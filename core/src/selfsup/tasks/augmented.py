"""Apply one random view to the input of a task that makes none itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.objectives.parts.embeddings import Embeddings
from selfsup.tasks.base import PretextTask, StepOutput, TaskRecipe, Views, ViewsRecipe
from selfsup.tasks.config_sections import accepts, with_defaults, with_section
from selfsup.tasks.joint_embedding.comparison import ComparesEmbeddings
from selfsup.types import Batch, Info


class AugmentedTask(PretextTask):
    """Gives a task a view of each batch in the place of the batch itself.

    MAE (arXiv 2111.06377, section 4) crops at random before it masks, VideoMAE (arXiv 2203.12602) and V-JEPA (arXiv 2404.08471)
    draw a window and a crop. What the task predicts is read from the view, too.

    Args:
        task: the task.
        views: makes the view.

    Raises:
        ConfigError: there would be more than one view.
    """

    def __init__(self, task: PretextTask, views: Views) -> None:
        super().__init__()
        if views.n_global + views.n_local != 1:
            raise ConfigError(
                f"views.n_global={views.n_global} and views.n_local={views.n_local}: {type(task).__name__} sees one view of "
                "each sample. Set views.n_global=1 and views.n_local=0."
            )
        self.task = task
        self.augmentation = views
        self.couples_samples = task.couples_samples

    @property
    def backbone(self) -> Backbone:  # type: ignore[override]  # a second reference would put its weights into checkpoints twice
        """The task's."""
        return self.task.backbone

    @property
    def takes_whole(self) -> bool:
        """Whether its views are cut from whole samples."""
        return self.augmentation.takes_whole

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Draw a view, and hand it on."""
        output: StepOutput = self.task(self.augmentation(batch, generator)[0], generator)
        return output

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Hand on."""
        return self.task.fit_to_data(rows, batch_size)

    def fit_to_run(self, total_steps: int) -> None:
        """Hand on."""
        self.task.fit_to_run(total_steps)

    def after_backward(self, progress: float) -> None:
        """Hand on."""
        self.task.after_backward(progress)

    def after_step(self, progress: float) -> None:
        """Hand on."""
        self.task.after_step(progress)

    def encoder_backbone(self) -> Backbone:
        """The task's."""
        return self.task.encoder_backbone()


class AugmentedComparison(AugmentedTask, ComparesEmbeddings[Embeddings]):
    """:class:`AugmentedTask` of a task that compares embeddings, as which it accumulates exactly."""

    task: ComparesEmbeddings[Embeddings]

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> Embeddings:
        """Draw a view, and let the task embed it."""
        return self.task.embed(self.augmentation(batch, generator)[0], generator, replay=replay)

    def compare(self, embeddings: Embeddings) -> StepOutput:
        """Hand on."""
        return self.task.compare(embeddings)


def augment_task(task: PretextTask, views: Views) -> AugmentedTask:
    """The task with a view of each batch in the place of the batch; it compares embeddings where the task does."""
    return (AugmentedComparison if isinstance(task, ComparesEmbeddings) else AugmentedTask)(task, views)


def augmented(recipe: TaskRecipe, views: ViewsRecipe | None, view_defaults: Mapping[str, Any] | None = None) -> TaskRecipe:
    """The same task on one random view of each sample; its config has one more section, ``views``.

    Args:
        recipe: of a task that makes no views.
        views: the modality's views; None: the recipe is returned as it is.
        view_defaults: defaults of the section that differ from the views' own; there is one view anyway.

    Raises:
        ConfigError: a default is no option or is not allowed, or there are defaults and no views.
    """
    if views is None:
        if view_defaults:
            raise ConfigError(f"The defaults {dict(view_defaults)} are of views, and no views are given.")
        return recipe
    one = {key: value for key, value in (("n_global", 1), ("n_local", 0)) if accepts(views.config, {key: value})}
    section = with_defaults(views.config, {**one, **(view_defaults or {})})
    build_task, build_views = recipe.build, views.build

    def build(config: Any, backbone: Backbone, info: Info) -> AugmentedTask:
        return augment_task(build_task(config, backbone, info), build_views(config.views, info))

    config: type[Config] = with_section(recipe.config, "views", section, "How the view is made that the task sees.")
    return replace(recipe, config=config, build=build)
