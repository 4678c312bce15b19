"""A first-in, first-out memory of embeddings, kept in buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.objectives.distributed import gather


class EmbeddingQueue(nn.Module):
    """The last ``size`` embeddings of the global batch, as a ring: a batch that reaches the end goes on at the beginning.

    Args:
        size: number of embeddings; it need not be a multiple of the batch size.
        dim: their width.
    """

    embeddings: Tensor
    position: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("embeddings", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros(size))

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Put in the embeddings ([B, P]) of every rank in place of the oldest ones; of more than ``size``, the last ones."""
        rows = gather(embeddings.detach())[-self.size :]
        # The position stays on the device: there is no sync.
        index = (self.position + torch.arange(len(rows), device=rows.device)) % self.size
        self.embeddings.index_copy_(0, index, rows.to(self.embeddings.dtype))
        self.filled.index_fill_(0, index, 1.0)
        self.position.add_(len(rows)).remainder_(self.size)
