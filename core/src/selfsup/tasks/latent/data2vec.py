"""data2vec: predict a teacher's contextual representation of the whole input from a masked one."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone, TokenBackbone, Tokens
from selfsup.config import Config, idle
from selfsup.objectives.parts.collapse import sample_std
from selfsup.tasks.base import PretextTask, StepOutput, TaskFamilyRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.latent.ijepa import jepa_loss, layer_normalize
from selfsup.tasks.latent.teacher import Teacher, TeacherConfig
from selfsup.tasks.masked.masked_modeling import mask_token, token_backbone
from selfsup.tasks.parts.block_masking import block_mask
from selfsup.tasks.parts.random_masking import TokenMask, gather_tokens, random_mask
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.types import Batch, Info


class Data2VecTeacherConfig(TeacherConfig):
    """How slowly data2vec's teacher follows: from ``start`` to ``end`` along a line over ``ramp`` of the run."""

    start: float = Field(default=0.999, ge=0, le=1)
    """Share of the old weights that an update keeps, at the beginning of the run; 0.999 for speech, 0.9998 for images."""
    end: float = Field(default=0.9999, ge=0, le=1)
    """The same once the ramp is done; 0.9999 for speech in the paper, 0.9998 for images."""
    ramp: float = Field(default=0.075, gt=0, le=1)
    """Part of the run after which ``end`` is reached; 30k of 400k updates for speech in the paper."""


class Data2VecConfig(Config):
    """Options of data2vec; the defaults are the paper's for images where they differ between kinds of data."""

    masking: Literal["blocks", "spans", "random"] = "blocks"
    """Hide rectangles, as for images in the paper, spans that begin at random, as for speech, or random tokens, as for text."""
    mask_ratio: float = Field(default=0.6, gt=0, lt=1)
    """Share of the tokens that blocks or random tokens hide; 0.6 for images in the paper, 0.15 for text."""
    start_share: float = Field(default=0.065, gt=0, lt=1)
    """Share of the tokens at which a span begins; 0.065 for speech in the paper, which hides about 0.49 of the tokens."""
    span: int = Field(default=10, ge=1)
    """Tokens of a span; 10 for speech in the paper."""
    block_scale: tuple[float, float] = (0.08, 0.3)
    """Least and largest share of the lattice of a masked block; BEiT: from 16 of 196 patches to all that is left to hide."""
    block_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    """Least and largest height / width of a masked block; 0.3 to 1/0.3 in BEiT."""
    top_layers: int = Field(default=6, ge=1)
    """Last layers of the teacher that are averaged, all if it has fewer; the paper: 6 for images, 8 for speech, 10 for text."""
    beta: float | None = Field(default=2.0, gt=0)
    """Where smooth L1 goes from squared to absolute error; 2 for images in the paper, 4 for text; None: squared (speech)."""
    head_layers: Literal[1, 2] = 1
    """Linear layers of the head, with GELU between; 1 for images and speech in the paper, 2 for text."""
    teacher: Data2VecTeacherConfig = Data2VecTeacherConfig()
    """The moving average that gives the targets; speech: 0.999 to 0.9999 in 30k of 400k updates, images: 0.9998 throughout."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        why = f"masking is {self.masking}"
        return {
            **idle(why, self.masking == "spans", "mask_ratio"),
            **idle(why, self.masking != "spans", "start_share", "span"),
            **idle(why, self.masking != "blocks", "block_scale", "block_aspect"),
        }


class Data2Vec(PretextTask):
    """data2vec (Baevski et al. 2022, arXiv 2202.03555), for any tokens.

    The backbone encodes the input with mask tokens in it; the teacher, its moving average, encodes it unmasked; at the
    hidden tokens a linear head gives the average of the teacher's last K layers, each normalised over its channels. The
    paper averages the feed-forward outputs of the layers before their residual and instance-normalises speech; here it is
    what the backbone calls its ``layer_outputs``, always layer-normalised. The teacher copies the whole backbone, the
    embedding of tokens included.
    """

    backbone: TokenBackbone

    def __init__(self, config: Data2VecConfig, backbone: TokenBackbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.teacher = Teacher(backbone, config.teacher)
        self.mask_token = mask_token(backbone.embed_dim)
        D = backbone.embed_dim
        layers = [nn.Linear(D, D)] if config.head_layers == 1 else [nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D)]
        self.head = nn.Sequential(*layers)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Mask, encode, predict the teacher's layers at the hidden tokens."""
        tokens = self.backbone.tokenize(batch)
        mask = self.draw_mask(tokens, generator)
        encoded = self.backbone.encode(tokens.masked(mask.mask, self.mask_token))
        prediction, targets = self.head(gather_tokens(encoded, mask.hidden)), self.targets(batch)
        output = jepa_loss(prediction, gather_tokens(targets, mask.hidden), mask.weight, self.config.beta)
        return output._replace(metrics={**output.metrics, "sample_std": sample_std(targets, tokens.padding)})

    def draw_mask(self, tokens: Tokens, generator: torch.Generator | None) -> TokenMask:
        """The tokens to hide."""
        config, B, device = self.config, tokens.embeddings.shape[0], tokens.embeddings.device
        if config.masking == "random":
            return random_mask(B, tokens.grid, config.mask_ratio, padding=tokens.padding, generator=generator, device=device)
        if config.masking == "spans":
            return span_mask(
                B, tokens.grid, config.start_share, config.span, padding=tokens.padding, generator=generator, device=device
            )
        return block_mask(
            B, tokens.grid, config.mask_ratio, config.block_scale, config.block_aspect,
            padding=tokens.padding, generator=generator, device=device,
        )  # fmt: skip

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """[B, N, D], the average of the teacher's last K layers."""
        teacher = self.teacher.module
        layers = teacher.layer_outputs(teacher.tokenize(batch))
        return average_top_layers(layers, self.config.top_layers)

    def after_step(self, progress: float) -> None:
        """Move the teacher on."""
        self.teacher.update(self.backbone, progress)


def average_top_layers(layers: list[Tensor], k: int) -> Tensor:
    """Mean of the last ``k`` layers ([..., D] each), each layer-normalised over D first (arXiv 2202.03555, section 3.3)."""
    return torch.stack([layer_normalize(layer) for layer in layers[-k:]]).mean(dim=0)


def build_data2vec(config: Data2VecConfig, backbone: Backbone, info: Info) -> Data2Vec:
    """Build data2vec around a token backbone."""
    return Data2Vec(config, token_backbone(backbone, "data2vec"))


DATA2VEC_FAMILY = TaskFamilyRecipe(
    config=Data2VecConfig,
    build=build_data2vec,
    optimization={"optimizer": "adamw", "base_lr": 2.5e-4, "weight_decay": 0.05, "warmup_fraction": 0.05},
)
"""data2vec with the paper's settings for images (ViT-B: 2e-3 at a batch of 2048, 40 of 800 epochs of warm-up)."""

data2vec_recipe = partial(recipe_from_family, DATA2VEC_FAMILY)
"""A data2vec task for any token backbone: see :func:`~selfsup.tasks.family.recipe_from_family`."""
