"""Raw features of texts: TF-IDF."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.types import Batch, Info


def tfidf(batch: Batch, info: Info) -> Tensor:
    """[B, V] float: (1 + log count) of each token times its inverse document frequency, with unit 2-norm.

    Tokens are the tokenizer's pieces, cut to ``max_length`` as for every encoder; special tokens have weight 0.
    """
    idf = torch.tensor(info["idf"], dtype=torch.float32, device=batch["ids"].device)
    real = (~batch["padding"]).float()
    counts = torch.zeros(real.shape[0], idf.shape[0], device=real.device).scatter_add(1, batch["ids"], real)
    weight = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), counts)
    return F.normalize(weight * idf, dim=1)
