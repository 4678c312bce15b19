"""The raw features of a modality as an encoder, so that the same evaluators measure them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.artifacts import Encoder, PretrainingRows
from selfsup.backbones import Backbone, Encoded
from selfsup.config import validated
from selfsup.data import Processor, load_source
from selfsup.errors import BenchmarkError
from selfsup.registry import registry
from selfsup.types import Batch, Info
from selfsup_bench.cells.cell import options_under

RawFeatures = Callable[[Batch, Info], Tensor]
"""A batch, and what the processor says of it, to [B, F]."""


class RawBackbone(Backbone):
    """A network without weights: it gives the raw features of a batch."""

    def __init__(self, modality: str, features: RawFeatures, info: Info, embed_dim: int) -> None:
        super().__init__()
        # Of the instance, since this one class serves every modality.
        self.__dict__["modality"] = modality
        self.features, self.info = features, info
        self.embed_dim = embed_dim

    def forward(self, batch: Batch) -> Encoded:
        """[B, F] raw features."""
        return Encoded(self.features(batch, self.info).float())


def raw_encoder(processor: Processor, features: RawFeatures, example: Batch) -> Encoder:
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
    none = PretrainingRows.of(np.zeros(0, dtype=np.uint64), ())
    task = f"{processor.modality}/raw"
    return Encoder(processor, backbone, backbone_id="raw", backbone_options={}, task=task, pretraining_rows=none)


def fitted_raw_encoder(
    modality: str, dataset: Any, *, kind: str = "raw", overrides: Mapping[str, Any], label: str | None = None
) -> Encoder:
    """An encoder of raw features, its processor fitted on the training rows of a data set.

    Args:
        modality: of the data.
        dataset: its source, or rows.
        kind: ``raw`` for the modality's usual raw features (and for what is put on top of them), or ``raw-NAME``.
        overrides: config keys; only those of the processor count.
        label: the label column; None: it is found.

    Raises:
        BenchmarkError: the modality has no raw features.
        UnknownIdError: it has none of that name.
    """
    found = registry()
    objects = found.modality_objects(modality)
    features = objects.other_raw_features(kind.removeprefix("raw-")) if kind.startswith("raw-") else objects.raw_features
    if features is None:
        raise BenchmarkError(f"the modality {modality!r} registers no raw features, so there is nothing to compare with.")
    given = options_under("processor.", overrides)
    spec = found.get("modality", modality)
    rows = load_source(dataset, modality=spec, split="train", label=label, options=given).without_labels()
    made = found.processor_class(modality)
    processor = made(validated(made.Config, given, what="the processor's options")).fit(rows)
    return raw_encoder(processor, features, processor(rows.read(range(1))))
