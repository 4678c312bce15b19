"""The raw-feature baseline of pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup.batch_parts import part_of, presence
from selfsup.testing.toy.pairs.rows import PARTS
from selfsup.testing.toy.sequences import features
from selfsup.types import Batch, Info


def raw_features(batch: Batch, info: Info) -> Tensor:
    """[B, F] float: the features of both sequences side by side, zeros for one that a row lacks."""
    found = []
    for part in PARTS:
        own = features.raw_features(part_of(batch, part), info["parts"][part]["info"])
        present = presence(batch, part)
        found.append(own if present is None else torch.where(present.unsqueeze(1), own, 0.0))
    return torch.cat(found, dim=1)
