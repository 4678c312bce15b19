"""Losses over large vocabularies without all logits at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MOST_LOGITS = 2**26
"""Logits of a batch up to which all are made at once; 256 MiB in float32, and a loss needs about four times that."""
CHUNK_LOGITS = 2**25
"""Logits that are made at once where there are more."""


def chunked_over_tokens(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor, classes: int) -> tuple[Tensor, ...]:
    """Call a function that makes logits; if they are many, in chunks of tokens, with the same values and gradients.

    The backward pass makes the logits of each chunk again, one chunk after the other, so that only one chunk's exist at a time.
    That costs one more product with the word embeddings. (Hsu et al. 2024, arXiv:2410.10989, section 3.2, take the gradient in
    the forward pass instead, which needs one mean over all tokens.) Up to :data:`MOST_LOGITS` the function is called once.

    Args:
        function: takes the tensors of some tokens, [b, k, ...], and gives tensors [b, k]; it treats tokens separately.
        tensors: [B, K, ...] each, of the same tokens.
        classes: logits of a token.

    Returns:
        [B, K] each.
    """
    B, K = tensors[0].shape[:2]
    if B * K * classes <= MOST_LOGITS:
        return function(*tensors)
    size = max(CHUNK_LOGITS // classes, 1)
    results: list[tuple[Tensor, ...]] = []
    for part in zip(*(torch.split(tensor.flatten(0, 1), size) for tensor in tensors), strict=True):
        arguments = [tensor.unsqueeze(0) for tensor in part]
        if torch.is_grad_enabled():
            results.append(checkpoint(function, *arguments, use_reentrant=False))
        else:
            results.append(function(*arguments))
    return tuple(torch.cat(values, dim=1).view(B, K) for values in zip(*results, strict=True))
