"""The raw features of a modality as an encoder, so that the same evaluators measure them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from selfsup.artifacts import Encoder
from selfsup.backbones import Backbone, Encoded
from selfsup.data import Processor
from selfsup.types import Batch, Info


class RawBackbone(Backbone):
    """A network without weights: it gives the raw features of a batch."""

    def __init__(self, modality: str, features: Callable[[Batch, Info], Tensor], info: Info, embed_dim: int) -> None:
        super().__init__()
        # Of the instance, since this one class serves every modality.
        self.__dict__["modality"] = modality
        self.features, self.info = features, info
        self.embed_dim = embed_dim

    def forward(self, batch: Batch) -> Encoded:
        """[B, F] raw features."""
        return Encoded(self.features(batch, self.info).float())


def raw_encoder(processor: Processor, features: Callable[[Batch, Info], Tensor], example: Batch) -> Encoder:
    """An encoder of raw features.

    Args:
        processor: fitted.
        features: of the modality: batch, and what the processor says of it, to [B, F].
        example: a batch of at least one row, to learn F from.
    """
    info = processor.info()
    with torch.inference_mode():
        width = features(example, info).shape[1]
    backbone = RawBackbone(processor.modality, features, info, width)
    return Encoder(processor, backbone, backbone_id="raw", backbone_options={}, task=f"{processor.modality}/raw")
