"""CAV-MAE: masked autoencoding of all parts together, and a contrast between the parts of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from selfsup.backbones import Backbone, mean_over_tokens
from selfsup.data import CONTENT, MARK, presence
from selfsup.objectives import Embeddings, counted, not_compared, symmetric_contrast
from selfsup.runtime import full, no_autocast
from selfsup.tasks import ComparesEmbeddings, StepOutput, TaskFamilyRecipe, Term, gather_tokens
from selfsup.types import Batch, Info
from selfsup_multimodal.backbones.fused_tokens import FusedTokens
from selfsup_multimodal.backbones.fusion import Fusion, fused
from selfsup_multimodal.tasks.mae import HiddenLoss, JointMAE, JointMAEConfig, kept_of


class CAVMAEConfig(JointMAEConfig):
    """Options of CAV-MAE."""

    usual_weights: ClassVar[Mapping[str, float]] = {}
    weights: dict[str, float] = Field(default_factory=dict)
    """By part name or modality: weight of its loss; else 1, as for both in the paper."""
    contrast_weight: float = Field(default=0.01, ge=0)
    """Weight of the contrast; 0.01 in the paper."""
    temperature: float = Field(default=0.05, gt=0)
    """Divides the cosines; 0.05 in the paper."""
    ignore_duplicates: bool = True
    """Do not use rows with equal content in a part (a repeated caption) as negatives (paper: they are)."""


@dataclass(frozen=True)
class SeenAndHidden(Embeddings):
    """What CAV-MAE compares; lists hold one tensor per part."""

    trained: ClassVar[tuple[str, ...]] = ("losses", "pooled")
    losses: list[Tensor]
    """[B, M] each, the losses of hidden tokens."""
    weights: list[Tensor | None]
    """[B, M] each, 0 in slots without a hidden token."""
    pooled: list[Tensor]
    """[B, D] each, the mean over the visible tokens of the part, encoded without the other parts."""
    present: list[Tensor | None]
    """[B] bool each, which rows have the part."""
    contents: list[Tensor | None]
    """[B] long each, equal for equal contents."""
    names: tuple[str, ...]


class CAVMAE(ComparesEmbeddings[SeenAndHidden], JointMAE):
    """Contrastive audio-visual masked autoencoder (CAV-MAE: Gong et al. 2023, arXiv:2210.07839, equation 7), for any parts.

    The visible tokens are encoded twice: all parts together, to reconstruct the hidden tokens, and each part alone, to contrast
    the parts' mean tokens. Unlike the paper, the parts share all layers (there: 11 per part and one for both), and the contrast
    is symmetric (there: in one direction). With more than two parts every pair is contrasted.
    """

    def __init__(self, config: CAVMAEConfig, backbone: Fusion, info: Info) -> None:
        JointMAE.__init__(self, config, backbone, info)
        self.contrast_weight, self.scale = config.contrast_weight, 1 / config.temperature
        self.ignore_duplicates = config.ignore_duplicates
        self.couples_samples = config.contrast_weight > 0

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> SeenAndHidden:
        """Mask each part, encode the visible tokens together and apart, reconstruct the hidden ones."""
        tokens = self.backbone.tokenize(batch)
        masks = self.draw_masks(tokens, generator)
        keep = kept_of(tokens, masks)
        hidden = self.reconstruct(batch, tokens, masks, keep, self.backbone.encode(tokens, keep=keep))
        names = tuple(tokens.spans)
        counts = [masks[name].keep.shape[1] for name in names]
        return SeenAndHidden(
            losses=[hidden[name].loss for name in names],
            weights=[hidden[name].weight for name in names],
            pooled=self._alone(tokens, keep, counts) if self.contrast_weight else [],
            present=[presence(batch, name) for name in names],
            contents=[batch.get(f"{name}{MARK}{CONTENT}") for name in names],
            names=names,
        )

    def compare(self, embeddings: SeenAndHidden) -> StepOutput:
        """The parts' mean losses, and the contrast of every pair of parts."""
        hidden = zip(embeddings.losses, embeddings.weights, strict=True)
        output = self.mean_losses({name: HiddenLoss(*own) for name, own in zip(embeddings.names, hidden, strict=True)})
        if not self.contrast_weight:
            return output
        terms, accuracy = self._contrast(embeddings)
        metrics = {
            **output.metrics,
            "contrast_loss": torch.stack([term.loss.detach() for term in terms]).mean(),
            "accuracy": accuracy,
        }
        weighted = [term.scaled(self.contrast_weight / len(terms)) for term in terms]
        return StepOutput.of(*(output.terms or (Term(output.loss, output.weight),)), *weighted, metrics=metrics)

    def _alone(self, tokens: FusedTokens, keep: Tensor, counts: list[int]) -> list[Tensor]:
        """[B, D] per part, the mean over its kept tokens (``counts`` many), encoded apart from the other parts."""
        number = torch.cat([torch.full((n,), place, device=keep.device) for place, n in enumerate(counts)])
        encoded = torch.split(self.backbone.encode_apart(tokens, keep, number), counts, dim=1)
        padding: Any = [None] * len(counts)
        if tokens.padding is not None:
            padding = torch.split(gather_tokens(tokens.padding, keep), counts, dim=1)
        return [full(mean_over_tokens(*each)) for each in zip(encoded, padding, strict=True)]

    def _contrast(self, embeddings: SeenAndHidden) -> tuple[list[Term], Tensor]:
        """One term per pair of parts, over the rows that have both, and the mean retrieval accuracy."""
        terms, found = [], []
        for pair in combinations(range(len(embeddings.names)), 2):
            a, b = (embeddings.pooled[place] for place in pair)
            there = [embeddings.present[place] for place in pair]
            valid = None if there[0] is None or there[1] is None else there[0] & there[1]
            shown = [embeddings.contents[place] for place in pair]
            groups = None
            if self.ignore_duplicates and shown[0] is not None and shown[1] is not None:
                groups = torch.stack([shown[0], shown[1]], dim=1)
            with no_autocast(a):
                loss, accuracy = symmetric_contrast(a, b, self.scale, valid, not_compared(valid, groups))
            terms.append(Term(loss, counted(valid, loss)))
            found.append(accuracy)
        return terms, torch.stack(found).mean()


def build_cav_mae(config: CAVMAEConfig, backbone: Backbone, info: Info) -> CAVMAE:
    """Build CAV-MAE around a fusion backbone."""
    return CAVMAE(config, fused(backbone, "CAV-MAE"), info)


CAV_MAE_FAMILY = TaskFamilyRecipe(
    config=CAVMAEConfig,
    build=build_cav_mae,
    optimization={
        "optimizer": "adam",
        "base_lr": 1.5e-4,
        "betas": (0.95, 0.999),
        "weight_decay": 5e-7,
        "warmup_fraction": 0.05,
    },
)
"""The optimizer of the authors' code with M3AE's learning rate (theirs is constant, then halved every few epochs)."""
