"""BERT's vocabulary head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VocabularyHead(nn.Module):
    """BERT's head (Devlin et al. 2018, arXiv:1810.04805): dense, GELU, layer norm, and the word embeddings as the decoder.

    The embeddings belong to the backbone and appear once in the task's state; the bias belongs to the head.

    Args:
        dim: width of the input; the dense layer maps it to the embeddings' width.
        embeddings: of the backbone, [V, D].
    """

    def __init__(self, dim: int, embeddings: nn.Embedding) -> None:
        super().__init__()
        width = embeddings.embedding_dim
        self.dense = nn.Linear(dim, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(embeddings.num_embeddings))
        # In a tuple, so that it is not registered a second time here.
        self._tied = (embeddings,)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., dim] to logits [..., V]."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), self._tied[0].weight, self.bias)
