"""The contract of an objective: the loss on embeddings, with its state in buffers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from selfsup.config import Config
from selfsup.objectives.parts.embeddings import Embeddings


class Term(NamedTuple):
    """A mean, and what it is over."""

    loss: Tensor
    """Scalar, with gradient: a mean over the batch's samples, or over some of its tokens."""
    weight: Tensor | None = None
    """Detached scalar: how many tokens or samples the mean is over; None: all samples of the batch, and each counts alike."""

    def scaled(self, factor: float) -> Term:
        """The mean times ``factor``, over the same tokens."""
        return Term(self.loss * factor, self.weight)


class LossOutput(NamedTuple):
    """A loss and what else is worth logging; all of it stays on the device."""

    loss: Tensor
    """Scalar."""
    metrics: dict[str, Tensor]
    """Name to detached scalar."""
    weight: Tensor | None = None
    """Detached scalar: how many rows of this device the loss is a mean over; None: all, or the same mean on every device."""
    terms: tuple[Term, ...] = ()
    """The means that add up to the loss, where they have different weights; ``weight`` is then of no account."""


@dataclass(frozen=True)
class ViewEmbeddings(Embeddings):
    """What a joint-embedding objective sees. Views come in a fixed order: the global ones, then the local ones."""

    trained: ClassVar[tuple[str, ...]] = ("online", "online_tokens")

    online: list[Tensor]
    """Per view [B, P]: the projection, or the prediction where the objective has a predictor. With gradient.

    Of the first view only, where the objective is ``one_way``.
    """
    target: list[Tensor]
    """Per global view [B, P]: the target network's projection, without gradient; empty where ``target`` is "none".

    Of the second view only, where the objective is ``one_way``.
    """
    n_global: int
    online_tokens: list[Tensor] = field(default_factory=list)
    """Per global view [B, N, P]: projected tokens; only for objectives with ``uses_tokens``."""
    locations: list[Tensor] | None = None
    """Per global view [B, N, d]: where each token's centre lies in the source, in 0..1; None if the views do not say."""
    token_padding: list[Tensor] | None = None
    """Per global view [B, N] bool, True where a token is padding; None without tokens."""
    valid: list[Tensor] | None = None
    """Per view [B] bool, False where a row lacks what the view is of (a caption); None: every row has all.

    Such a row is no positive, no negative, and in no statistic. A pair counts where both of its views are valid.
    """
    groups: Tensor | None = None
    """[B, V] long, a column a view: a number for what the view shows of each row, -1 for nothing; None: all differ.

    Two rows with the same number in a column (the same caption twice) are duplicates, and no negatives of each other.
    """
    generator: torch.Generator | None = None
    """What an objective that draws at random (LeJEPA's directions) must draw with; None: torch's global one."""

    def chosen(self, online: Sequence[int], target: Sequence[int]) -> ViewEmbeddings:
        """Some of the views: the places of those that have ``online``, and of those that have ``target``.

        ``valid`` and ``groups`` are then of the views in ``online``, followed by those that are in ``target`` alone. Tokens are
        left out.
        """
        places = [*online, *(place for place in target if place not in online)]
        return replace(
            self,
            online=[self.online[place] for place in online],
            target=[self.target[place] for place in target] if self.target else [],
            n_global=len(places),
            online_tokens=[],
            locations=None,
            token_padding=None,
            valid=None if self.valid is None else [self.valid[place] for place in places],
            groups=None if self.groups is None else torch.stack([self.groups[:, place] for place in places], dim=1),
        )


class Objective(nn.Module, ABC):
    """A loss of the core. Its state (queue, centre, prototypes) lies in buffers and parameters, so that checkpoints hold it."""

    Config: ClassVar[type[Config]]

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = config

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Make what is kept of former batches fit the data, before the first step; called once, before anything is restored.

        Args:
            rows: training rows.
            batch_size: samples of a step over all devices.

        Returns:
            A sentence that says what was changed; empty if nothing was.
        """
        return ""

    def after_step(self, progress: float) -> None:
        """Move schedules on after an optimizer step; ``progress`` is the finished part of the run, 0..1."""

    def after_backward(self, progress: float) -> None:
        """Change gradients before the optimizer step (DINO freezes its last layer at first)."""


class JointEmbeddingObjective(Objective):
    """An objective that compares the embeddings of several views of each sample."""

    target: ClassVar[Literal["none", "stop-gradient", "momentum", "teacher"]] = "none"
    """Which network gives ``ViewEmbeddings.target``: none, the online one without gradient, its moving average, or one that was
    trained before and stays as it is (of every view, local ones too, and without a head)."""
    uses_tokens: ClassVar[bool] = False
    """Whether it wants the projected tokens too (VICRegL)."""
    uses_local_views: ClassVar[bool] = False
    """Whether views beyond the first two are of use to it (SwAV, DINO, LeJEPA)."""
    one_way: bool = False
    """Whether only the first view goes through the online network and only the second through the target (MoCo v2, TiCo)."""
    batch_norm_splits: int = 1
    """Groups of a batch that batch norm looks at apart; above 1 the target network's batch is shuffled, too (MoCo v2)."""
    freezes_input: bool = False
    """Whether the backbone's ``input_projection`` stays as it is drawn (MoCo v3)."""
    couples_samples: bool = True
    """Whether a sample's loss depends on the other samples (as negatives, through statistics, a queue or a centre)."""
    handles_absent: ClassVar[bool] = False
    """Whether it honours ``ViewEmbeddings.valid``. Where rows may lack a part, an objective that does not is refused."""
    keeps_target: ClassVar[bool] = False
    """Whether the paper evaluates the target network's backbone and not the trained one (DINO)."""

    @abstractmethod
    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""

    @abstractmethod
    def build_projector(self, embed_dim: int) -> nn.Module:
        """The head from the backbone's D to what the loss compares: [B, D] to [B, P]."""

    def build_joint_projector(self, joint_dim: int) -> nn.Module:
        """The head where the parts of a row lie in one space (``Backbone.shares_space``): as elsewhere, unless overridden.

        An objective that compares that space itself, as CLIP does, gives an identity.
        """
        return self.build_projector(joint_dim)

    def meet_teacher(self, dim: int) -> None:
        """Know how wide the teacher's embeddings are, with ``target = "teacher"``, before a head is built."""

    def build_predictor(self) -> nn.Module | None:
        """The head behind the online projector only, [B, P] to [B, P]; None where the method has none."""
        return None

    def build_token_projector(self, embed_dim: int) -> nn.Module | None:
        """The head for tokens, [B, N, D] to [B, N, P], of an objective with ``uses_tokens``; None for the others."""
        return None


@dataclass(frozen=True)
class ObjectiveRecipe:
    """A loss on embeddings and its options: ``build(config)`` gives the :class:`JointEmbeddingObjective`.

    An :class:`~selfsup.registry.ObjectiveSpec` of the joint-embedding family leads to it. A method that is a whole task (masked
    modelling, latent and autoregressive prediction) has a :class:`selfsup.tasks.TaskFamilyRecipe`.
    """

    config: type[Config]
    build: Callable[[Any], JointEmbeddingObjective]
    optimization: dict[str, Any] = field(default_factory=dict)
    """The paper's optimizer settings: overrides of ``OptimizationConfig`` fields."""
    momentum: tuple[float, float] | None = None
    """For ``target = "momentum"``: the paper's start and end of the moving average's momentum."""
    backbone: dict[str, Any] = field(default_factory=dict)
    """Options of the backbone that the paper has, as in ``TaskRecipe``."""
    taught: bool = False
    """Whether its config names a trained encoder that is the target (``teacher``)."""
    views: dict[str, Any] = field(default_factory=dict)
    """The paper's number of views (``n_global``, ``n_local``), for modalities whose views can be made in such numbers."""
