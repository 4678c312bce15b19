"""I-JEPA: predict a teacher's representation of hidden blocks from the representation of a context."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, TokenBackbone, Tokens, grid_size
from selfsup.config import Config, idle
from selfsup.objectives.base import Term
from selfsup.objectives.parts.collapse import sample_std
from selfsup.runtime.precision import full
from selfsup.tasks.base import PretextTask, StepOutput, TaskFamilyRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.latent.teacher import Teacher, TeacherConfig
from selfsup.tasks.masked.masked_modeling import mask_token, token_backbone
from selfsup.tasks.parts.block_masking import MultiBlockMask, multi_block_mask, shuffled
from selfsup.tasks.parts.random_masking import gather_tokens, mean_term
from selfsup.tasks.parts.transformer import Transformer, head_width, lattice_positions
from selfsup.types import Batch, Info


class IJEPAConfig(Config):
    """Options of I-JEPA."""

    masking: Literal["blocks", "random"] = "blocks"
    """Context and targets are blocks of the lattice, as in the paper, or sets of random tokens of the same sizes (T-JEPA)."""
    n_targets: int = Field(default=4, ge=1)
    """Blocks that are predicted, each apart; 4 in the paper."""
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Least and largest share of the lattice of a target block; 0.15 to 0.2 in the paper."""
    target_aspect: tuple[float, float] = (0.75, 1.5)
    """Least and largest height / width of a target block; 0.75 to 1.5 in the paper."""
    context_scale: tuple[float, float] = (0.85, 1.0)
    """Least and largest share of the lattice of the context block, before targets are cut out; 0.85 to 1 in the paper."""
    context_share: float = Field(default=0.25, gt=0, le=1)
    """Most of the N tokens that the context keeps; the authors' code: a batch's least, about 0.26 of 14 x 14 at B = 128."""
    min_context: int = Field(default=4, ge=1)
    """Least tokens of context, for lattices so small that the targets can cover it all; 10 of 14 x 14 in the authors' code."""
    beta: float = Field(default=1.0, ge=0)
    """Where smooth L1 goes from squared to absolute error; 1 in the authors' code; 0: the absolute error throughout."""
    predictor_dim: int | None = Field(default=None, ge=4)
    """Width of the predictor; None: half the backbone's, which is the paper's 384 for ViT-B."""
    predictor_depth: int = Field(default=6, ge=1)
    """Blocks of the predictor; 6 for ViT-B in the paper, 12 for larger ones."""
    predictor_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the predictor; None: one per 32 channels, which is the paper's 12 for 384."""
    teacher: TeacherConfig = TeacherConfig()
    """The moving average that gives the targets; 0.996 to 1 along a line in the paper."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("masking is random", self.masking == "random", "target_aspect")


class Predictor(nn.Module):
    """A narrow transformer that sees the context and, at the places of one target block, mask tokens."""

    def __init__(self, embed_dim: int, dim: int, depth: int, heads: int | None) -> None:
        super().__init__()
        self.dim = dim
        self.embed = nn.Linear(embed_dim, dim)
        self.transformer = Transformer(dim, depth, heads)
        self.mask_token = mask_token(dim)
        self.out = nn.Linear(dim, embed_dim)

    def forward(
        self, context: Tensor, context_index: Tensor, target_index: Tensor, weight: Tensor, positions: Tensor
    ) -> Tensor:
        """Predict every block apart.

        Args:
            context: [B, K, D], the encoded context.
            context_index: [B, K] long, which tokens those are.
            target_index: [B, n, T] long, which tokens are wanted.
            weight: [B, n, T] bool, False for fillers, which nothing looks at.
            positions: [N, dim].

        Returns:
            [B, n, T, D].
        """
        B, n, T = target_index.shape
        known = self.embed(context) + positions[context_index]
        asked = self.mask_token + positions[target_index]
        known = known.unsqueeze(1).expand(-1, n, -1, -1)
        x = torch.cat([known, asked.to(known.dtype)], dim=2).flatten(0, 1)
        filler = torch.cat([torch.zeros_like(context_index, dtype=torch.bool).unsqueeze(1).expand(-1, n, -1), ~weight], dim=2)
        x = self.transformer(x, filler.flatten(0, 1))[:, -T:]
        out: Tensor = self.out(x).view(B, n, T, -1)
        return out


class JointEmbeddingPrediction(PretextTask):
    """What the predictive architectures share: a context, a teacher, a predictor, and masks that a subclass draws.

    The backbone encodes the context tokens only; the teacher, its moving average, encodes all; the predictor gives the
    teacher's layer-normalised output at the targets, compared by smooth L1.

    The teacher is what is kept after pretraining, as in the papers. Its momenta fit the length of the run, so that it scores as
    the trained backbone does after 200 steps, too (linear probe: I-JEPA on MNIST 55.5 and 54.4 %, V-JEPA on moving digits 34.5
    and 35.5 %, on a table 82.8 and 82.7 %).

    Args:
        backbone: the network to train.
        predictor: from context to targets.
        teacher: how slowly the moving average follows.
        beta: where smooth L1 goes from squared to absolute error.
    """

    backbone: TokenBackbone

    def __init__(self, backbone: TokenBackbone, predictor: Predictor, teacher: TeacherConfig, beta: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.teacher = Teacher(backbone, teacher)
        self.predictor = predictor
        self.beta = beta

    @abstractmethod
    def draw_masks(self, tokens: Tokens, generator: torch.Generator | None) -> list[MultiBlockMask]:
        """The contexts, and what is predicted from each."""

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Draw masks, encode each context, predict the teacher's view of its targets; the mean loss of all masks."""
        tokens = self.backbone.tokenize(batch)
        positions = lattice_positions(tokens.grid, self.predictor.dim, tokens.embeddings.device)
        targets, outputs = self.targets(batch), []
        for mask in self.draw_masks(tokens, generator):
            context = self.backbone.encode(tokens, keep=mask.context)
            prediction = self.predictor(context, mask.context, mask.targets, mask.weight, positions)
            target = gather_tokens(targets, mask.targets.flatten(1)).view_as(prediction)
            outputs.append(jepa_loss(prediction, target, mask.weight, self.beta))
        metrics = {name: torch.stack([each.metrics[name] for each in outputs]).mean() for name in outputs[0].metrics}
        metrics["sample_std"] = sample_std(targets, tokens.padding)
        return StepOutput.of(*(Term(each.loss / len(outputs), each.weight) for each in outputs), metrics=metrics)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """[B, N, D], the teacher's output with each token normalised over its channels."""
        teacher = self.teacher.module
        return layer_normalize(teacher.encode(teacher.tokenize(batch)))

    def after_step(self, progress: float) -> None:
        """Move the teacher on."""
        self.teacher.update(self.backbone, progress)

    def encoder_backbone(self) -> Backbone:
        """The teacher."""
        return self.teacher.module


class IJEPA(JointEmbeddingPrediction):
    """Image-based joint-embedding predictive architecture (Assran et al. 2023, arXiv 2301.08243), for any tokens.

    Each target block is predicted apart, and compared by smooth L1 as in the authors' code (the paper writes squared L2). The
    paper evaluates the teacher, too.
    """

    def __init__(self, config: IJEPAConfig, backbone: TokenBackbone) -> None:
        dim = head_width(config.predictor_dim, backbone.embed_dim)
        predictor = Predictor(backbone.embed_dim, dim, config.predictor_depth, config.predictor_heads)
        super().__init__(backbone, predictor, config.teacher, config.beta)
        self.config = config

    def draw_masks(self, tokens: Tokens, generator: torch.Generator | None) -> list[MultiBlockMask]:
        """One."""
        return [self.draw_mask(tokens, generator)]

    def draw_mask(self, tokens: Tokens, generator: torch.Generator | None) -> MultiBlockMask:
        """The context and what is predicted from it."""
        config, B, device = self.config, tokens.embeddings.shape[0], tokens.embeddings.device
        grid, padding, order = tokens.grid, tokens.padding, None
        if config.masking == "random":
            # Where neighbours are no neighbours (the columns of a table), blocks lie on a row of tokens in random order.
            grid = (grid_size(grid),)
            order = torch.rand(B, *grid, generator=generator, device=device).argsort(dim=1)
            padding = None if padding is None else padding.gather(1, order)
        mask = multi_block_mask(
            B, grid,
            n_targets=config.n_targets, target_scale=config.target_scale, target_aspect=config.target_aspect,
            context_scale=config.context_scale, context_share=config.context_share, min_context=config.min_context,
            padding=padding, generator=generator, device=device,
        )  # fmt: skip
        return mask if order is None else shuffled(mask, order)


def jepa_loss(prediction: Tensor, target: Tensor, weight: Tensor | None, beta: float | None = 1.0) -> StepOutput:
    """Smooth L1 (or squared error) between representations, averaged over channels, then over tokens, in float32 at least.

    Args:
        prediction: [..., D].
        target: [..., D], without gradient.
        weight: [...] bool or float, which tokens count; None: all.
        beta: where the squared error goes over into the absolute one; 0: absolute throughout; None: squared throughout.

    Returns:
        The loss, and ``target_std``: the targets' standard deviation over all tokens, averaged over channels; it falls in a
        collapse.
    """
    if prediction.dtype != torch.float64:
        prediction, target = prediction.float(), target.float()
    if beta is None:
        loss = F.mse_loss(prediction, target, reduction="none").mean(dim=-1)
    else:
        loss = F.smooth_l1_loss(prediction, target, reduction="none", beta=beta).mean(dim=-1)
    spread = target.flatten(0, -2).std(dim=0).mean()
    return StepOutput.of(mean_term(loss, weight), metrics={"target_std": spread})


def layer_normalize(x: Tensor) -> Tensor:
    """Layer norm over the last dimension without weights, in float32 at least."""
    return F.layer_norm(full(x), x.shape[-1:])


def build_ijepa(config: IJEPAConfig, backbone: Backbone, info: Info) -> IJEPA:
    """Build I-JEPA around a token backbone."""
    return IJEPA(config, token_backbone(backbone, "I-JEPA"))


IJEPA_FAMILY = TaskFamilyRecipe(
    config=IJEPAConfig,
    build=build_ijepa,
    optimization={
        "optimizer": "adamw",
        "base_lr": 1.25e-4,
        "weight_decay": 0.04,
        "weight_decay_end": 0.4,
        "warmup_fraction": 0.05,
    },
)
"""I-JEPA with the paper's settings (1e-3 at a batch of 2048, 15 of 300 epochs of warm-up)."""

ijepa_recipe = partial(recipe_from_family, IJEPA_FAMILY)
"""An I-JEPA task for any token backbone: see :func:`~selfsup.tasks.family.recipe_from_family`."""
