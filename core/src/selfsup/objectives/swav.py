"""SwAV's loss: predict one view's assignment to prototypes from another's embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config, idle
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.collapse import assignment_metrics
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.queue import EmbeddingQueue, fitting_size, queue_note
from selfsup.objectives.parts.valid_rows import only_valid, pairs_there
from selfsup.runtime.distributed import max_over_ranks, sum_over_ranks, world_size


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int, weights: Tensor | None = None) -> Tensor:
    """Soft assignments that use all prototypes equally (Caron et al. 2020, arXiv:2006.09882, equations 3 to 5).

    Args:
        scores: [B, K], similarity of each embedding with each prototype.
        epsilon: smoothness.
        iterations: of normalising prototypes, then samples.
        weights: [B], how much each sample counts in the prototypes' shares; None: 1 each.

    Returns:
        [B, K], rows that sum to 1, without gradient. Prototypes are balanced over the global batch.
    """
    # A constant shift cancels, and keeps the exponentials in range.
    codes = ((scores - max_over_ranks(scores.max())) / epsilon).exp()
    tiny = torch.finfo(codes.dtype).tiny
    for _ in range(iterations):
        shares = codes.sum(dim=0) if weights is None else weights @ codes
        codes = codes / sum_over_ranks(shares).clamp_min(tiny)
        codes = codes / codes.sum(dim=1, keepdim=True).clamp_min(tiny)
    return codes


def swapped_prediction(
    scores: list[Tensor], codes: list[Tensor], temperature: float, valid: list[Tensor] | None = None
) -> Tensor:
    """Cross-entropy of each view's scores with the codes of every other global view (equation 2, multi-crop as in equation 6).

    Args:
        scores: per view [B, K], the global ones first.
        codes: per global view [B, K].
        temperature: divides the scores.
        valid: per view [B] bool, the samples that have it; None: all. A pair of views counts where both are.

    Returns:
        Scalar, the mean over the pairs and samples that count.
    """
    losses = []
    for i, code in enumerate(codes):
        for v, score in enumerate(scores):
            if v != i:
                rows = -(code * F.log_softmax(score / temperature, dim=1)).sum(dim=1)
                losses.append(rows.mean() if valid is None else only_valid(rows, valid[i] & valid[v]).sum())
    if valid is None:
        return torch.stack(losses).mean()
    return torch.stack(losses).sum() / pairs_there(valid, len(codes)).sum().clamp_min(1)


class SwAVConfig(Config):
    """SwAV (Caron et al. 2020, arXiv:2006.09882)."""

    temperature: float = Field(default=0.1, gt=0)
    """Divides the scores (paper: 0.1)."""
    epsilon: float = Field(default=0.05, gt=0)
    """Smoothness of the assignments (paper: 0.05)."""
    sinkhorn_iterations: int = Field(default=3, ge=1)
    """Iterations of the assignment (paper: 3)."""
    n_prototypes: int = Field(default=3000, ge=2)
    """Number of prototypes (paper: 3000)."""
    queue_size: int = Field(default=3840, ge=0)
    """Former embeddings a view that help to balance assignments (paper: 3840), at most the rows less a batch; 0: none."""
    queue_start: float = Field(default=0.075, ge=0, le=1)
    """Finished part of the run from which the queue is used (paper: epoch 15 of 200)."""
    freeze_prototypes: float = Field(default=0.005, ge=0, le=1)
    """Part of the run for which the prototypes stay as they are drawn (paper: the first epoch of 200)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layer (paper: 2048)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projection (paper: 128)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("queue_size is 0", self.queue_size == 0, "queue_start")


class SwAV(JointEmbeddingObjective):
    """Swapped prediction of online cluster assignments."""

    Config = SwAVConfig
    handles_absent = True
    uses_local_views = True
    queue_on: Tensor
    config: SwAVConfig

    def __init__(self, config: SwAVConfig) -> None:
        super().__init__(config)
        self.prototypes = nn.Linear(config.output_dim, config.n_prototypes, bias=False)
        self._normalize_prototypes()
        self.queues = self._make_queues(config.queue_size)
        self.register_buffer("queue_on", torch.tensor(float(config.queue_start == 0)))

    def _make_queues(self, size: int) -> nn.ModuleList:
        return nn.ModuleList(EmbeddingQueue(size, self.config.output_dim) for _ in range(2 if size else 0))

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Make the queues no longer than the data allow."""
        size = fitting_size(self.config.queue_size, rows, batch_size)
        if size == self.config.queue_size:
            return ""
        self.queues = self._make_queues(size)
        return queue_note(self.config.queue_size, size, rows)

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim])

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch; its embeddings then enter the queues."""
        valid = embeddings.valid
        there: Sequence[Tensor | None] = valid or [None] * len(embeddings.online)
        views = [F.normalize(only_valid(view, own), dim=1) for view, own in zip(embeddings.online, there, strict=True)]
        scores = list(self.prototypes(torch.cat(views)).split([len(view) for view in views]))
        codes = [self._codes(index, scores[index].detach(), there[index]) for index in range(embeddings.n_global)]
        if self.training and self.queues:
            for queue, view, own in zip(self.queues, views, there, strict=False):
                assert isinstance(queue, EmbeddingQueue)
                queue.push(view, own)
        # The codes use all prototypes by construction, so what is counted is which ones the embeddings are near to.
        near = F.softmax(scores[0].detach() / self.config.temperature, dim=1)
        loss = swapped_prediction(scores, codes, self.config.temperature, valid)
        weight = None if valid is None else pairs_there(valid, len(codes)).sum().to(loss.dtype)
        return LossOutput(loss, assignment_metrics(codes[0], near, there[0]), weight)

    @torch.no_grad()
    def _codes(self, index: int, scores: Tensor, valid: Tensor | None) -> Tensor:
        weights = None if valid is None else valid.to(scores.dtype)
        n = len(scores)
        if self.queues:
            queue = self.queues[index % 2]
            assert isinstance(queue, EmbeddingQueue)
            # Places that hold nothing yet weigh nothing. Every rank holds the whole queue, so that each counts its part of it.
            former = queue.filled * self.queue_on / world_size()
            weights = torch.cat([former.new_ones(n) if weights is None else weights, former]).to(scores.dtype)
            scores = torch.cat([scores, self.prototypes(queue.embeddings.to(self.prototypes.weight.dtype)).to(scores.dtype)])
        return sinkhorn(scores, self.config.epsilon, self.config.sinkhorn_iterations, weights)[:n]

    def after_backward(self, progress: float) -> None:
        """Leave the prototypes alone at first."""
        if progress < self.config.freeze_prototypes:
            self.prototypes.weight.grad = None

    def after_step(self, progress: float) -> None:
        """Scale the prototypes to unit length again, and switch the queues on in time."""
        self._normalize_prototypes()
        self.queue_on.fill_(float(progress >= self.config.queue_start))

    @torch.no_grad()
    def _normalize_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))


RECIPE = ObjectiveRecipe(
    config=SwAVConfig,
    build=SwAV,
    optimization={
        "optimizer": "lars",
        "base_lr": 0.6,
        "adapt_biases": True,
        "weight_decay": 1e-6,
        "warmup_epochs": 0,
        "final_lr_fraction": 0.001,
    },
    views={"n_global": 2, "n_local": 6},
)
