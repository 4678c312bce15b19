"""Distillation: a network learns the embeddings of a trained one, which teaches it and does not change."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config, idle
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, Term, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import counted, global_mean, mean_cosine, only_valid, own_columns, valid_mean
from selfsup.runtime.distributed import gather, world_size

Loss = Literal["cosine", "mse", "similarity"]
_LEAST = 1e-4
"""Of the mean variance of a teacher's features, what is added to each."""


@torch.no_grad()
def standardized(teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """A teacher's embeddings [B, Q] with zero mean and unit deviation in each feature, over the rows of all devices that count.

    The embeddings of many networks lie in a narrow cone and differ in a few features (Ethayarajh 2019, arXiv:1909.00512): a
    student that gives their mean would be near to all of them. That is why targets are standardised (Ranzinger et al. 2024,
    arXiv:2410.01680, section 3, there with statistics of the whole data).
    """
    mean = global_mean(teacher, valid)
    variance = global_mean((teacher - mean).square(), valid)
    # A feature that says next to nothing beside the others is not blown up.
    return (teacher - mean) / (variance + _LEAST * variance.mean()).sqrt().clamp_min(torch.finfo(teacher.dtype).tiny)


def cosine_distance(student: Tensor, target: Tensor) -> Tensor:
    """One less the cosine of each row with its target: [B, Q] and [B, Q] to [B], in 0..2.

    Half the squared distance of the two at unit length: FitNets' regression of a teacher's features (Romero et al. 2014,
    arXiv:1412.6550, equation 3) without the length of the vectors.
    """
    return 1 - F.cosine_similarity(student, target, dim=1)


def squared_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of each row to its target: [B, Q] and [B, Q] to [B]; FitNets' equation 3, there a sum."""
    return (student - target).square().mean(dim=1)


def similarity_divergence(student: Tensor, teacher: Tensor, temperature: float, valid: Tensor | None = None) -> Tensor:
    """How much the similarities of each row to the others differ from those in the teacher's eyes: to [B].

    The cosines to all other rows of the global batch, divided by the temperature, go through a softmax; the Kullback-Leibler
    divergence is from the teacher's distribution to the student's. This is the second form of CompRess (Koohpayegani et al.
    2020, arXiv:2010.14713, section 3), in which each network compares with embeddings of its own, there those of a memory bank;
    SEED (Fang et al. 2021, arXiv:2101.04731) is alike. The two may be of different widths.

    Args:
        student: [B, P], with gradient, to the other rows, too.
        teacher: [B, Q].
        temperature: divides the cosines of both.
        valid: [B] bool, False for rows that are compared with none; None: all rows count.
    """
    columns = torch.arange(len(student) * world_size(), device=student.device)
    left_out = own_columns(len(student), student.device)[:, None] == columns
    if valid is not None:
        left_out = left_out | gather((~valid).to(torch.uint8)).bool()
    lowest = torch.finfo(student.dtype).min
    logits = [
        (each @ gather(each).T / temperature).masked_fill(left_out, lowest)
        for each in (F.normalize(student, dim=1), F.normalize(teacher, dim=1))
    ]
    own, theirs = (each.log_softmax(dim=1) for each in logits)
    divergence: Tensor = F.kl_div(own, theirs, log_target=True, reduction="none").masked_fill(left_out, 0).sum(dim=1)
    return divergence


class DistillConfig(Config):
    """Distillation of a trained encoder (Hinton et al. 2015, arXiv:1503.02531; of features FitNets, arXiv:1412.6550)."""

    teacher: str | None = None
    """The network that teaches, named as in ``init``; it has to be given. ``start``: this network's own first weights."""
    loss: Loss = "cosine"
    """Learn an embedding's direction (cosine) or values (mse, FitNets), or how alike samples are (similarity, CompRess)."""
    hidden_dim: int = Field(default=0, ge=0)
    """Width of the hidden layer on the way to the teacher's embedding; 0: a linear layer alone (FitNets)."""
    temperature: float = Field(default=0.04, gt=0)
    """Divides the cosines of ``similarity`` (CompRess: 0.04)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        relational = self.loss == "similarity"
        return {
            **idle("objective.loss is similarity, which compares embeddings as they are", relational, "hidden_dim"),
            **idle(f"objective.loss is {self.loss}", not relational, "temperature"),
        }


class Distill(JointEmbeddingObjective):
    """How far each view's embedding, behind a linear layer, is from the teacher's of the same view; the mean over the views."""

    Config = DistillConfig
    target = "teacher"
    uses_local_views = True
    handles_absent = True
    config: DistillConfig

    def __init__(self, config: DistillConfig) -> None:
        super().__init__(config)
        self.teacher_dim = 0

    def meet_teacher(self, dim: int) -> None:
        """Know how wide the teacher's embeddings are."""
        self.teacher_dim = dim

    def build_projector(self, embed_dim: int) -> nn.Module:
        """To the teacher's width; similarities need none."""
        if self.config.loss == "similarity":
            return nn.Identity()
        hidden = self.config.hidden_dim
        return mlp([embed_dim, hidden, self.teacher_dim]) if hidden else nn.Linear(embed_dim, self.teacher_dim)

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        terms: list[Term] = []
        cosines: list[Tensor] = []
        for place, (student, teacher) in enumerate(zip(embeddings.online, embeddings.target, strict=True)):
            valid = None if embeddings.valid is None else embeddings.valid[place]
            student, teacher = only_valid(student, valid), only_valid(teacher, valid)
            if self.config.loss == "similarity":
                each = similarity_divergence(student, teacher, self.config.temperature, valid)
            else:
                target = standardized(teacher, valid)
                each = (cosine_distance if self.config.loss == "cosine" else squared_distance)(student, target)
                cosines.append(mean_cosine(student, target, valid))
            terms.append(Term(valid_mean(each, valid), counted(valid, each)).scaled(1 / len(embeddings.online)))
        metrics = {"teacher_similarity": torch.stack(cosines).mean()} if cosines else {}
        loss = torch.stack([term.loss for term in terms]).sum()
        if embeddings.valid is None or len(terms) == 1:
            return LossOutput(loss, metrics, terms[0].weight)
        return LossOutput(loss, metrics, None, tuple(terms))


RECIPE = ObjectiveRecipe(config=DistillConfig, build=Distill, taught=True, views={"n_global": 1, "n_local": 0})
"""One view a sample; Beyer et al. 2021 (arXiv:2106.05237) find that student and teacher should see the same crop of it."""
