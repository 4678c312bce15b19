"""Training from scratch with few labels: each draw of the labels starts from another untrained network."""

from __future__ import annotations

import torch

from selfsup.artifacts import Encoder
from selfsup.evaluation import FewLabelsConfig, Predict, Split, trained_from
from selfsup.registry import registry
from selfsup.runtime import preserved


def untrained(encoder: Encoder, seed: int) -> Encoder:
    """The network of an encoder with new initial weights; torch's random state is unchanged.

    Args:
        encoder: its backbone, options and processor are used; it is not changed.
        seed: of the weights. The same one gives the same weights, unless the options name first weights, which then stay.
    """
    with preserved():
        torch.manual_seed(seed)
        backbone, _ = registry().build_backbone(encoder.backbone_id, encoder.backbone_options, encoder.processor.info())
    made = Encoder(
        encoder.processor,
        backbone,
        backbone_id=encoder.backbone_id,
        backbone_options=encoder.backbone_options,
        task=encoder.task,
        metadata=encoder.metadata,
        pretraining_rows=encoder.pretraining_rows,
    )
    return made.to(encoder.device).eval()


def from_scratch(encoder: Encoder, test: Split, config: FewLabelsConfig) -> Predict:
    """Train all weights on the rows of each draw, from other first weights in each.

    So the scores of two draws share nothing but the rows that both drew, and do not depend on which cells share the draws out.

    Args:
        encoder: untrained; says which network.
        test: rows that the scores are of.
        config: its ``finetune`` are the options of the training.
    """
    return trained_from(lambda draw: untrained(encoder, draw), test, config.finetune)
