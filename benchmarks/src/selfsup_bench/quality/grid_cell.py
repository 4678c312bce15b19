"""A cell of a grid: one training and its scores with few and with many labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from selfsup.config import Config

REFERENCES = ("random-init", "scratch", "raw", "boosting", "tf-idf", "raw-mfcc")
"""Methods that are no pretext task: the untrained network, the same trained with the labels alone (all of its weights), the
modality's raw features, boosted trees on these, word counts weighed by rarity (text), and statistics of the MFCCs (audio)."""

RECALL = "recall_at_"
"""What the names of retrieval's metrics begin with; they are there where a cell was measured by retrieval, too."""

Scores = Mapping[str, Mapping[str, float]]
"""Setting of the labels to metrics."""


class GridCell(Config):
    """One training and its scores. Every field determines the result."""

    modality: str
    """Of the data."""
    dataset: str
    """Name of the data set, registered or below SELFSUP_DATA."""
    label: str
    """Its label column; empty: it is found."""
    method: str
    """Name of a task without its modality, or one of :data:`REFERENCES`."""
    backbone: str
    """Id of the backbone; empty for raw features."""
    seed: int
    """Of weights, order, views and labelled rows."""
    labels: tuple[str, ...]
    """How many labels are used: ``100``, ``5%``, ``all``."""
    label_noise: float = 0.0
    """Share of the training labels that is wrong."""
    repeats: int = 3
    """Draws of the labelled rows, where not all are used; the mean is taken."""
    steps: int
    """Optimizer steps of pretraining."""
    finetune_epochs: int
    """Passes of ``scratch`` over the labelled rows."""
    finetune: bool = False
    """Whether a pretrained encoder is scored by training all of its weights in place of a linear probe."""
    overrides: tuple[tuple[str, Any], ...]
    """Config keys of the pretraining; those that begin with ``finetune.`` are of training all weights with the labels."""

    @property
    def trained(self) -> bool:
        """Whether there is something to pretrain."""
        return self.method not in REFERENCES

    def name(self) -> str:
        """A name for its file: readable, and another one whenever a field is another."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:10]
        return f"{self.dataset}.{self.method}.{self.backbone.replace('/', '-') or 'raw'}.seed{self.seed}.{digest}".replace(
            "/", "-"
        )
