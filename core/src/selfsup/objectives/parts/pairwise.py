"""An objective of two views for several parts of a row: every pair of views is compared."""

from __future__ import annotations

from copy import deepcopy
from itertools import combinations, permutations

import torch
from torch import Tensor, nn

from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, Term, ViewEmbeddings


class Pairwise(JointEmbeddingObjective):
    """Compares every pair of views with a copy of an objective of its own; the loss is the mean over the pairs.

    Each pair has a queue, a bilinear form and statistics for itself: a caption is contrasted with pictures, and not with
    captions. Where the objective is ``one_way`` (MoCo v2, TiCo) each pair is taken in both directions, so that the network of
    every part is trained.

    Args:
        objective: compares two views. The heads are made by it.
        n_views: number of views, 2 or more.
    """

    uses_local_views = True

    def __init__(self, objective: JointEmbeddingObjective, n_views: int) -> None:
        super().__init__()
        self.pairs = list((permutations if objective.one_way else combinations)(range(n_views), 2))
        self.copies = nn.ModuleList([objective, *(deepcopy(objective) for _ in self.pairs[1:])])
        self.directed = objective.one_way
        self.target = objective.target  # type: ignore[misc]  # of the class elsewhere
        self.couples_samples = objective.couples_samples
        self.keeps_target = objective.keeps_target  # type: ignore[misc]
        self.handles_absent = objective.handles_absent  # type: ignore[misc]
        self.batch_norm_splits = objective.batch_norm_splits
        self.freezes_input = objective.freezes_input

    @property
    def first(self) -> JointEmbeddingObjective:
        """The objective of the first pair."""
        objective = self.copies[0]
        assert isinstance(objective, JointEmbeddingObjective)
        return objective

    def build_projector(self, embed_dim: int) -> nn.Module:
        """The objective's."""
        return self.first.build_projector(embed_dim)

    def build_joint_projector(self, joint_dim: int) -> nn.Module:
        """The objective's; each copy learns of the width."""
        heads = [objective.build_joint_projector(joint_dim) for objective in self._all()]
        return heads[0]

    def build_predictor(self) -> nn.Module | None:
        """The objective's."""
        return self.first.build_predictor()

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The mean over the pairs; metrics are means over them, too."""
        outputs: list[LossOutput] = []
        for (a, b), objective in zip(self.pairs, self.copies, strict=True):
            pair = embeddings.chosen([a], [b]) if self.directed else embeddings.chosen([a, b], [a, b])
            outputs.append(objective(pair))
        n = len(outputs)
        terms = tuple(
            term.scaled(1 / n) for output in outputs for term in (output.terms or (Term(output.loss, output.weight),))
        )
        metrics: dict[str, Tensor] = {
            name: torch.stack([output.metrics[name].float() for output in outputs]).mean() for name in outputs[0].metrics
        }
        return LossOutput(torch.stack([term.loss for term in terms]).sum(), metrics, None, terms)

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Of each copy; what they say is the same."""
        said = [objective.fit_to_data(rows, batch_size) for objective in self._all()]
        return said.pop()

    def after_step(self, progress: float) -> None:
        """Of each copy."""
        for objective in self._all():
            objective.after_step(progress)

    def after_backward(self, progress: float) -> None:
        """Of each copy."""
        for objective in self._all():
            objective.after_backward(progress)

    def _all(self) -> list[JointEmbeddingObjective]:
        return [objective for objective in self.copies if isinstance(objective, JointEmbeddingObjective)]
