"""Raw features of tables: the columns themselves."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.types import Batch, Info


def columns(batch: Batch, info: Info) -> Tensor:
    """[B, F] float: scaled numbers (0 if missing), flags of missing numbers, and categories as one-hot vectors."""
    one_hot = [F.one_hot(batch["category"][:, place], count).float() for place, count in enumerate(info["cardinalities"])]
    return torch.cat([batch["numeric"].float(), batch["missing"].float(), *one_hot], dim=1)
