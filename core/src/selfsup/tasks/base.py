"""The contract of a pretext task, and what its recipe gets to build it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.objectives.base import Term
from selfsup.tasks.parts.moving_average import MomentumEncoder
from selfsup.types import Batch, Info


class StepOutput(NamedTuple):
    """What a task gives for one batch; all of it stays on the device.

    An optimizer step may see its batch in several chunks, on several devices and one after the other. The loss of the step is
    one mean over the whole batch: chunks count by their ``weight``. Where the loss is a sum of means over different things
    (hidden tokens and all tokens) each of the ``terms`` counts by its own. :meth:`of` makes an output from terms.
    """

    loss: Tensor
    """Scalar, with gradient."""
    metrics: dict[str, Tensor]
    """Name to detached scalar."""
    weight: Tensor | None = None
    """Of what the loss is a mean over; see :class:`Term`."""
    terms: tuple[Term, ...] = ()
    """The means that add up to the loss, where they have different weights; ``weight`` is then of no account."""

    @classmethod
    def of(cls, *terms: Term, metrics: dict[str, Tensor] | None = None) -> Self:
        """The sum of means, each with what it is over."""
        if len(terms) == 1:
            return cls(terms[0].loss, metrics or {}, terms[0].weight)
        loss = terms[0].loss
        for term in terms[1:]:
            loss = loss + term.loss
        return cls(loss, metrics or {}, None, terms)


class PretextTask(nn.Module, ABC):
    """Views or masks or a transformation, heads and an objective around a backbone.

    It never sees a label. Every random draw is made with ``generator`` on the batch's device
    (``torch.rand(n, generator=generator, device=x.device)``); ``generator`` may be None, which stands for torch's global one.
    There is no host sync in ``forward``: no ``.item()``, no ``.cpu()``, no boolean indexing, no data-dependent shape.
    The loss is a mean over samples or tokens, and the output says over how many (:class:`StepOutput`).
    """

    backbone: Backbone
    trains: bool = True
    """Whether there is something to train. False: a run takes no step, whatever its budget, and saves the network as it is."""
    couples_samples: bool = False
    """Whether a sample's loss depends on the other samples of the batch (as negatives, through their statistics, through what
    the forward pass writes into buffers), so that chunks of a batch by themselves give another loss than the whole batch. Such
    a task accumulates exactly if it is a :class:`~selfsup.tasks.ComparesEmbeddings`, and a run warns if it is not. On several
    devices the samples of all devices must count."""

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """The loss of one batch."""

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Make what is kept of former batches fit the data, before the first step; called once, before anything is restored.

        Args:
            rows: training rows.
            batch_size: samples of a step over all devices.

        Returns:
            A sentence that says what was changed; empty if nothing was.
        """
        return ""

    def fit_to_run(self, total_steps: int) -> None:
        """Fit the schedules to a run of so many optimizer steps, before the first one and again where a run goes on.

        Here the moving averages are told; a task whose other schedules depend on the number of steps does more.
        """
        for module in self.modules():
            if isinstance(module, MomentumEncoder):
                module.fit_to_run(total_steps)

    def after_backward(self, progress: float) -> None:
        """Change gradients before the optimizer step; ``progress`` is the finished part of the run, 0..1."""

    def after_step(self, progress: float) -> None:
        """Update what is not trained by gradient (moving averages, schedules) after an optimizer step."""

    @property
    def takes_whole(self) -> bool:
        """Whether training gives it whole samples to cut views from (:meth:`selfsup.data.Processor.collate_whole`)."""
        return False

    def lr_scales(self) -> list[tuple[nn.Module, float]]:
        """Modules whose learning rate is another than the run's, and the share of it that they take: those of the backbone."""
        return self.backbone.lr_scales()

    def encoder_backbone(self) -> Backbone:
        """The backbone to keep after pretraining: the trained one, or its moving average where the paper keeps that."""
        return self.backbone


@dataclass(frozen=True)
class TaskRecipe:
    """How a :class:`~selfsup.registry.specs.TaskSpec` becomes a task: validated options, and the function that takes them."""

    config: type[Config]
    build: Callable[[Any, Backbone, Info], PretextTask]
    optimization: dict[str, Any] = field(default_factory=dict)
    """The paper's optimizer settings: overrides of ``selfsup.training.OptimizationConfig`` fields."""
    processor: dict[str, Any] = field(default_factory=dict)
    """Options of the modality's processor that suit the task (packed blocks for language modelling); the user's go before."""
    teacher: Callable[[Any], str | None] | None = None
    """For tasks that learn from a trained encoder: where it is, by the task's options; None: it is not named, and empty: the
    task needs none after all. The run gives the teacher to the task (``JointEmbedding.learn_from``), takes its processor, and
    counts the rows that it has learned from as learned from."""
    backbone: dict[str, Any] = field(default_factory=dict)
    """Options of the backbone that suit the task (fixed positions for MoCo v3), those that it has; the user's go before."""


@dataclass(frozen=True)
class TaskFamilyRecipe:
    """A method that is a whole task and not a loss on embeddings: masked modelling, latent and autoregressive prediction.

    An :class:`~selfsup.registry.ObjectiveSpec` of these families leads to it. It makes a task in every modality that has a
    :class:`~selfsup.backbones.TokenBackbone`.
    """

    config: type[Config]
    build: Callable[[Any, Backbone, Info], PretextTask]
    optimization: dict[str, Any] = field(default_factory=dict)
    """The paper's optimizer settings: overrides of ``selfsup.training.OptimizationConfig`` fields."""
    backbone: dict[str, Any] = field(default_factory=dict)
    """Options of the backbone that the paper has, as in :class:`TaskRecipe`."""


class InputChange(nn.Module, ABC):
    """Makes the network's input and no part of the network: it computes in the precision of its numbers, whatever the run's."""

    note: str = ""
    """A sentence that every run says once: what of the options cannot be done with these data; empty: nothing."""
    compilable: ClassVar[tuple[str, ...]] = ()
    """Names of methods that draw nothing and take most of the time: a run on a GPU may compile them."""

    def __call__(self, batch: Batch, generator: torch.Generator | None) -> Any:
        """Call ``forward`` with autocast off."""
        with torch.autocast(next(iter(batch.values())).device.type, enabled=False):
            return super().__call__(batch, generator)


class Views(InputChange):
    """Makes augmented batches on the device, in one batched call, each sample with its own random parameters.

    A view is a batch of the modality. It may carry ``crop`` ([B, d, 2] float: origin and extent along each of the first d axes
    of the token lattice, in source coordinates 0..1; a flipped axis has its origin at the far edge and a negative extent; along
    further axes the view is whole), from which objectives on tokens learn where each token lies.
    """

    n_global: int
    n_local: int
    takes_whole: bool = False
    """Whether views can be cut from whole samples, too: the batches of :meth:`selfsup.data.Processor.collate_whole`."""

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` global views, then ``n_local`` local ones."""


@dataclass(frozen=True)
class ViewsRecipe:
    """How a modality's views are made; ``config`` has at least ``n_global`` and ``n_local``."""

    config: type[Config]
    build: Callable[[Any, Info], Views]


class Corrupted(NamedTuple):
    """A corrupted batch and what was there before."""

    batch: Batch
    """What the backbone sees."""
    target: Tensor
    """[B, ...] float (regression) or long class ids (classification), what the decoder predicts."""
    weight: Tensor | None = None
    """Broadcastable to the element-wise loss; None: every element counts alike."""


class Corruption(InputChange):
    """Corrupts a batch and keeps the answer, and says which decoder fits (denoising, inpainting, colorization)."""

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """Corrupt a batch."""

    @abstractmethod
    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """A module from :class:`~selfsup.backbones.Encoded` to a prediction that :meth:`loss` takes."""

    @abstractmethod
    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """How far the prediction is from the answer, and how many samples or elements that is a mean over."""

    def after_step(self, progress: float) -> None:
        """Update what is learnt of the data (frequencies of colours) after an optimizer step; ``progress`` as for a task."""


@dataclass(frozen=True)
class CorruptionRecipe:
    """How a modality's corruption is made."""

    config: type[Config]
    build: Callable[[Any, Info], Corruption]


class Transformed(NamedTuple):
    """A transformed batch and the answer."""

    batch: Batch
    """What the backbone sees: ``parts`` inputs for each of M answers, those of one side by side ([M*parts, ...])."""
    label: Tensor
    """[M] long for classes; [M, items] long for a permutation per item; [M, ...] float for coordinates."""
    weight: Tensor | None = None
    """[M] float, 0 for an answer that the sample is too short to be asked for, and 1 elsewhere; None: all are asked for."""


class Transformation(InputChange):
    """Changes the input in a way whose kind is the label (rotation, jigsaw order, frame order, playback speed)."""

    kind: str
    """``class`` (cross-entropy over ``n_outputs``) or ``coordinates`` (squared error on ``n_outputs`` numbers)."""
    n_outputs: int
    items: int = 1
    """Classes to name for each answer: columns of a ``label`` [M, items], with ``n_outputs`` classes each."""
    parts: int = 1
    """Inputs that are encoded apart and joined before the head (the tiles of a jigsaw)."""

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """Transform a batch."""


@dataclass(frozen=True)
class TransformationRecipe:
    """How a modality's transformation is made."""

    config: type[Config]
    build: Callable[[Any, Info], Transformation]
