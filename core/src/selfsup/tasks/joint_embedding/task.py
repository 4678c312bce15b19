"""The joint-embedding family: views, backbone, projector, predictor, objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.config_layers import merge_layers
from selfsup.errors import ConfigError
from selfsup.objectives.base import JointEmbeddingObjective, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.collapse import rank_of, relative_std
from selfsup.objectives.parts.pairwise import Pairwise
from selfsup.runtime.distributed import convert_split_batchnorm
from selfsup.runtime.precision import full
from selfsup.tasks.base import StepOutput, TaskRecipe, Views, ViewsRecipe
from selfsup.tasks.config_sections import accepts, join_sections, with_defaults
from selfsup.tasks.joint_embedding.comparison import ComparesEmbeddings
from selfsup.tasks.joint_embedding.embed_views import (
    Branch,
    Heads,
    apply_head,
    build_heads,
    embed_shuffled,
    embed_views,
    has_split_norm,
    present_rows,
    shown_content,
    token_padding,
    view_locations,
    view_parts,
)
from selfsup.tasks.joint_embedding.frozen_teacher import START, FrozenTeacher, start_teacher
from selfsup.tasks.parts.moving_average import MomentumConfig, MomentumEncoder
from selfsup.types import Batch, Info


class JointEmbedding(ComparesEmbeddings[ViewEmbeddings]):
    """Embeds several views of each sample and lets an objective compare them.

    The loss is computed in float32 (or the backbone's float64) whatever the precision of the networks. Beside the objective's
    metrics, ``target_std`` and ``target_rank`` say how much the target network's projections (else the online ones) differ, see
    :func:`~selfsup.objectives.parts.collapse.relative_std` and :func:`~selfsup.objectives.parts.collapse.rank_of`.

    Args:
        backbone: the network to train.
        views: makes the views.
        objective: the loss, which also says what heads there are.
        momentum: how slowly the moving average follows, for objectives with ``target = "momentum"``.

    Raises:
        ConfigError: the number of views does not suit the objective, or the backbone has parts that rows may lack and the
            objective cannot leave them out.
    """

    def __init__(
        self, backbone: Backbone, views: Views, objective: JointEmbeddingObjective, momentum: MomentumConfig | None = None
    ) -> None:
        super().__init__()
        if backbone.part_dims:
            _check_parts(objective, views.n_global)
        if backbone.part_dims and not objective.uses_local_views and (objective.one_way or views.n_global > 2):
            objective = Pairwise(objective, views.n_global)
        _check_views(views, objective)
        self.views = views
        self.objective = objective
        self.couples_samples = objective.couples_samples
        token_projector = objective.build_token_projector(backbone.embed_dim) if objective.uses_tokens else None
        if objective.freezes_input:
            for parameter in backbone.input_projection():
                parameter.requires_grad_(False)
        if objective.batch_norm_splits > 1:
            backbone = convert_split_batchnorm(backbone, objective.batch_norm_splits)
        self.backbone = backbone
        shares_space = bool(backbone.part_dims) and backbone.shares_space
        build_projector = objective.build_joint_projector if shares_space else objective.build_projector
        self._build_projector = build_projector
        self.teacher: FrozenTeacher | None = None
        self.projector = nn.Identity() if objective.target == "teacher" else build_heads(backbone, build_projector)
        self.token_projector = token_projector
        self.predictor = objective.build_predictor()
        if self.predictor is not None and isinstance(self.projector, Heads):
            self.predictor = build_heads(backbone, lambda _: cast(nn.Module, objective.build_predictor()))
        self.momentum: MomentumEncoder[Branch] | None = None
        if objective.target == "momentum":
            momentum = momentum or MomentumConfig()
            self.momentum = MomentumEncoder(self._online(), momentum.start, momentum.end, momentum.initial_share)

    def learn_from(self, teacher: FrozenTeacher) -> None:
        """Take a trained network as target, for objectives with ``target = "teacher"``; before the first step."""
        self.teacher = teacher
        self.objective.meet_teacher(teacher.dim)
        self.projector = build_heads(self.backbone, self._build_projector)

    def _online(self) -> Branch:
        # Made when it is needed: kept, it would hold the backbone a second time in the state dict.
        return Branch(self.backbone, self.projector, self.token_projector)

    @property
    def takes_whole(self) -> bool:
        """Whether its views are cut from whole samples."""
        return self.views.takes_whole

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> ViewEmbeddings:
        """Make the views of a batch and embed them: all that is done row by row, but for batch norm.

        The views are drawn first, then what the networks draw (dropout), then what the target does. A ``replay`` has no target.
        """
        views = self.views(batch, generator)
        n_global = self.views.n_global
        online_views, target_views = (views[:1], views[1:2]) if self.objective.one_way else (views, views[:n_global])
        if self.objective.target == "teacher":
            target_views = views
        n_tokens = n_global if self.objective.uses_tokens else 0
        projections, tokens = embed_views(self.backbone, self.projector, self.token_projector, online_views, n_tokens)
        online = projections
        if self.predictor is not None:
            online = apply_head(self.predictor, projections, view_parts(online_views))
        return ViewEmbeddings(
            online=_full_precision(online),
            target=[] if replay else _full_precision(self._target(target_views, projections[:n_global], generator)),
            n_global=n_global,
            online_tokens=_full_precision([view.tokens for view in tokens if view.tokens is not None]),
            locations=view_locations(views, tokens),
            token_padding=token_padding(tokens),
            valid=self._valid(views),
            groups=shown_content(views),
            generator=generator,
        )

    def _valid(self, views: Sequence[Batch]) -> list[Tensor] | None:
        """Per view which rows count: those that have it and, where one view's teacher teaches all, that view."""
        valid = present_rows(views)
        if valid is None or self.teacher is None or self.teacher.view is None:
            return valid
        return [each & valid[self.teacher.view] for each in valid]

    def compare(self, embeddings: ViewEmbeddings) -> StepOutput:
        """The loss of embedded views, in full precision."""
        device = embeddings.online[0].device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                output = self.objective(embeddings)
        else:
            output = self.objective(embeddings)
        compared = embeddings.target[0] if embeddings.target else embeddings.online[0].detach()
        there = embeddings.valid[int(self.objective.one_way)] if embeddings.valid is not None else None
        spread = {"target_std": relative_std(compared, there), "target_rank": rank_of(compared, there)}
        return StepOutput(output.loss, {**spread, **output.metrics}, output.weight, output.terms)

    def _target(self, views: Sequence[Batch], projections: list[Tensor], generator: torch.Generator | None) -> list[Tensor]:
        if self.objective.target == "teacher":
            if self.teacher is None:
                raise ConfigError(f"{type(self.objective).__name__} has no teacher: objective.teacher names it.")
            embedded: list[Tensor] = self.teacher(views)
            return embedded
        if self.momentum is not None:
            network = self.momentum.module.backbone
            moved = [self.momentum.training and has_split_norm(network, part) for part in view_parts(views)]
            if any(moved):
                return embed_shuffled(self.momentum, views, generator, moved)
            targets: list[Tensor] = self.momentum(views)[0]
            return targets
        if self.objective.target == "stop-gradient":
            return [projection.detach() for projection in projections]
        return []

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Let the objective fit what it keeps to the data."""
        return self.objective.fit_to_data(rows, batch_size)

    def after_backward(self, progress: float) -> None:
        """Let the objective change gradients."""
        self.objective.after_backward(progress)

    def after_step(self, progress: float) -> None:
        """Move the target network and the objective's schedules on."""
        if self.momentum is not None:
            self.momentum.update(self._online(), progress)
        self.objective.after_step(progress)

    def encoder_backbone(self) -> Backbone:
        """The trained backbone, or the target network's where the paper evaluates that (DINO)."""
        if self.momentum is not None and self.objective.keeps_target:
            return self.momentum.module.backbone
        return self.backbone


def _check_parts(objective: JointEmbeddingObjective, n_parts: int) -> None:
    name = type(objective).__name__
    if not objective.handles_absent:
        raise ConfigError(
            f"{name} cannot leave out rows that lack a part, so it cannot compare the parts of a row: it has to honour "
            "ViewEmbeddings.valid and to say so (handles_absent = True)."
        )
    if objective.uses_tokens and n_parts > 2:
        raise ConfigError(f"{name} compares the tokens of two views, but there are {n_parts} parts: name two of them.")


def _check_views(views: Views, objective: JointEmbeddingObjective) -> None:
    name = type(objective).__name__
    if objective.target == "teacher":  # one view is enough
        return
    if views.n_global < 2:
        raise ConfigError(
            f"views.n_global={views.n_global} is too few: {name} compares views of one sample, so make at least 2."
        )
    if not objective.uses_local_views and views.n_global + views.n_local > 2:
        raise ConfigError(
            f"{name} compares two views, but there are {views.n_global} global and {views.n_local} local ones: "
            "set views.n_global=2 and views.n_local=0."
        )


def _full_precision(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [full(tensor) for tensor in tensors]


def _named_teacher(config: Any) -> str | None:
    """Where the teacher is; empty where the network's own start teaches it."""
    source: str | None = config.objective.teacher
    return "" if source == START else source


def joint_embedding_recipe(
    objective: ObjectiveRecipe,
    views: ViewsRecipe,
    *,
    view_defaults: Mapping[str, Any] | None = None,
    objective_defaults: Mapping[str, Any] | None = None,
    optimization: Mapping[str, Any] | None = None,
    momentum: tuple[float, float] | None = None,
) -> TaskRecipe:
    """Join an objective and a modality's views into a task.

    Its config has the sections ``objective``, ``views`` and, where the target is a moving average, ``momentum``, so that
    ``--set objective.temperature=0.2`` and ``--set views.n_local=6`` work.

    Args:
        objective: the objective's recipe.
        views: the modality's views.
        view_defaults: defaults of the views section that differ from the views' own and from the objective's number of views.
        objective_defaults: defaults of the objective section (head sizes, temperature) that differ from the paper's.
        optimization: overrides of ``OptimizationConfig`` on top of the objective's own.
        momentum: start and end of the moving average's momentum where they differ from the objective's own.

    Raises:
        ConfigError: a default is no option, or is not allowed.
    """
    wanted = {"n_global": 2, "n_local": 0, **objective.views}
    numbers = {key: value for key, value in wanted.items() if accepts(views.config, {key: value})}
    sections: dict[str, tuple[type[Config], str]] = {
        "objective": (with_defaults(objective.config, objective_defaults or {}), "The loss and the heads."),
        "views": (with_defaults(views.config, {**numbers, **(view_defaults or {})}), "How the views are made."),
    }
    schedule = momentum or objective.momentum
    if schedule is not None:
        defaults = {"start": schedule[0], "end": schedule[1]}
        sections["momentum"] = (
            with_defaults(MomentumConfig, defaults),
            "How slowly the target network follows the trained one.",
        )

    def build(config: Any, backbone: Backbone, info: Info) -> JointEmbedding:
        made_views = views.build(config.views, info)
        task = JointEmbedding(backbone, made_views, objective.build(config.objective), getattr(config, "momentum", None))
        if objective.taught and config.objective.teacher == START:
            task.learn_from(start_teacher(backbone))
        return task

    return TaskRecipe(
        config=join_sections("JointEmbeddingConfig", sections),
        build=build,
        teacher=_named_teacher if objective.taught else None,
        optimization=merge_layers(objective.optimization, optimization or {}),
        backbone=objective.backbone,
    )
