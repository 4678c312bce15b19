"""Causal language modelling: predict each token from the earlier ones, in packed blocks."""

from __future__ import annotations

from dataclasses import replace

import torch

from selfsup.backbones import Backbone
from selfsup.tasks import NEXT_TOKEN_FAMILY, NextToken, NextTokenConfig, StepOutput, mean_term
from selfsup.types import Batch, Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.tasks.parts.special_tokens import text_backbone


class CausalLanguageModeling(NextToken):
    """GPT's task (Radford et al. 2018): the core's next token, plus the first token from the class token.

    Without a class token (GPT-2) the first token is given. The vocabulary head is the network's own, pretrained if the network
    is, and the encoder keeps it.
    """

    backbone: TextBackbone

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Encode, predict, compare; nothing is random."""
        if self.steps_ahead > 1:
            return super().forward(batch, generator)
        ahead = self.backbone.ahead(batch)
        loss = self.backbone.predicted_loss(self.head, ahead.states, ahead.targets, ahead.places)
        mean = mean_term(loss, ahead.valid.to(loss.dtype))
        return StepOutput.of(mean, metrics={"perplexity": mean.loss.detach().exp()})


def build_clm(config: NextTokenConfig, backbone: Backbone, info: Info) -> CausalLanguageModeling:
    """Build causal language modelling around a decoder."""
    return CausalLanguageModeling(config, text_backbone(backbone, "Causal language modelling", causal=True))


CLM_FAMILY = replace(NEXT_TOKEN_FAMILY, build=build_clm)
"""Optimized as the core's next token."""
