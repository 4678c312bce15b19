"""Autoregressive prediction: predict each token, or one some steps ahead, from those before it (language models, APC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from selfsup.backbones import Backbone, TokenBackbone, Tokens
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks.base import PretextTask, StepOutput, TaskFamilyRecipe, TaskRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.masked.masked_modeling import token_backbone
from selfsup.tasks.parts.random_masking import mean_term
from selfsup.types import Batch, Info


class NextTokenConfig(Config):
    """Options of autoregressive prediction."""

    steps_ahead: int = Field(default=1, ge=1)
    """How many tokens on the predicted one lies; 1 in language models, 1 to 20 frames in APC, where 3 to 5 work best."""


class NextToken(PretextTask):
    """Predicts every token from those before it.

    On class ids this is language modelling with cross-entropy (GPT: Radford et al. 2018), on real vectors autoregressive
    predictive coding with absolute error (APC: Chung et al. 2019, arXiv 1904.03240, equation 1). The first ``steps_ahead``
    tokens are given, as there is nothing before them, and no token of another sample is ever looked at. APC has a recurrent
    network; here it is any backbone that is ``causal``.

    Raises:
        ConfigError: the backbone sees later tokens, from which it could copy the answer.
    """

    backbone: TokenBackbone

    def __init__(self, config: NextTokenConfig, backbone: TokenBackbone) -> None:
        super().__init__()
        self.backbone = causal_backbone(backbone)
        self.steps_ahead = config.steps_ahead
        # A language model's head tells the next token; for one further on the task has a head of its own.
        self.head = backbone.output_head() if config.steps_ahead == 1 else backbone.target_head(backbone.embed_dim)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Encode, predict, compare; nothing is drawn at random."""
        tokens = self.backbone.tokenize(batch)
        B, N, _ = tokens.embeddings.shape
        target = self.backbone.targets(batch)[:, self.steps_ahead :]
        M = target.shape[1]
        encoded = self.backbone.encode(tokens)[:, :M]
        index = torch.arange(N - M, N, device=encoded.device).expand(B, M)
        loss = self.backbone.predicted_loss(self.head, encoded, target, index, distance="absolute")
        mean = mean_term(loss, self._weight(loss, tokens, self.backbone.target_weight(batch)))
        metrics = {"perplexity": mean.loss.detach().exp()} if self.backbone.target_kind == "categorical" else {}
        return StepOutput.of(mean, metrics=metrics)

    def _weight(self, loss: Tensor, tokens: Tokens, known: Tensor | None) -> Tensor:
        """1 where there is something to predict; with weights the loss of samples that are all too short is 0, and not NaN."""
        ahead, padding, group = self.steps_ahead, tokens.padding, tokens.group
        weight = torch.ones_like(loss) if padding is None else (~padding[:, ahead:]).to(loss.dtype)
        if group is not None:
            weight = weight * (group[:, ahead:] == group[:, :-ahead])
        return weight if known is None else weight * known[:, self.steps_ahead :]


def causal_backbone(backbone: TokenBackbone) -> TokenBackbone:
    """``backbone``, if its tokens look back only.

    Raises:
        ConfigError: they see later ones, too.
    """
    if not backbone.causal:
        raise ConfigError(
            f"{type(backbone).__name__} lets each token look at those behind it, and could copy what it is to predict from "
            "there. Take a causal backbone (a decoder), or a task that hides tokens."
        )
    return backbone


def build_next_token(config: NextTokenConfig, backbone: Backbone, info: Info) -> NextToken:
    """Build autoregressive prediction around a causal token backbone."""
    return NextToken(config, token_backbone(backbone, "Autoregressive prediction"))


NEXT_TOKEN_FAMILY = TaskFamilyRecipe(
    config=NextTokenConfig,
    build=build_next_token,
    optimization={
        "optimizer": "adamw",
        "base_lr": 1e-3,
        "betas": (0.9, 0.95),
        "weight_decay": 0.1,
        "final_lr_fraction": 0.1,
        "warmup_fraction": 0.02,
        "clip": 1.0,
    },
)
"""Language modelling with the optimizer of GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix B) and GPT's learning rate
(2.5e-4 at a batch of 64)."""


def autoregressive_recipe(
    *, optimization: Mapping[str, Any] | None = None, processor: Mapping[str, Any] | None = None, **defaults: Any
) -> TaskRecipe:
    """An autoregressive task for any causal token backbone.

    Args:
        optimization: changes to the optimizer settings.
        processor: options of the processor that the task wants (packed blocks).
        defaults: other defaults for fields of :class:`NextTokenConfig`.

    Raises:
        ConfigError: a default is of no field, or breaks its limits.
    """
    return replace(
        recipe_from_family(NEXT_TOKEN_FAMILY, optimization=optimization, **defaults), processor=dict(processor or {})
    )
