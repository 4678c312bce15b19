"""Attention in float32 where the rest of a CPU's step is in bf16: torch's bf16 kernel takes about twice as long there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_attention = F.scaled_dot_product_attention


@contextmanager
def float32_attention(device_type: str) -> Iterator[None]:
    """In the block, scaled dot-product attention under a CPU's autocast is computed in float32; elsewhere nothing changes.

    Its inputs are products in the lower precision already and its result is given in it. Torch's function is exchanged for the
    time of the block, since every library calls it by its name there: timm, transformers and torch's own layers.
    """
    if device_type != "cpu":
        yield
        return
    F.scaled_dot_product_attention = _in_float32
    try:
        yield
    finally:
        F.scaled_dot_product_attention = _attention


def _in_float32(*args: Any, **kwargs: Any) -> Tensor:
    if not torch.is_autocast_enabled("cpu"):
        return _attention(*args, **kwargs)
    with torch.autocast("cpu", enabled=False):
        wide = [_widened(value) for value in args]
        result = _attention(*wide, **{name: _widened(value) for name, value in kwargs.items()})
    return result.to(torch.get_autocast_dtype("cpu")) if result.dtype == torch.float32 else result


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
