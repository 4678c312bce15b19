"""Compute attention in float32 on a CPU under bf16 autocast; torch's bf16 kernel takes about twice as long there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_attention = F.scaled_dot_product_attention


def attend_in_float32(module: nn.Module) -> None:
    """In place: let a module's forward pass compute scaled dot-product attention in float32 where a CPU's autocast is on.

    Its inputs are products in the lower precision already, and its result is given in that precision. Torch's function is
    replaced during the forward pass, since every library calls it by its name: timm, transformers and torch's own layers.
    """
    module.register_forward_pre_hook(_replace)
    module.register_forward_hook(_put_back, always_call=True)


def _replace(*_: Any) -> None:
    F.scaled_dot_product_attention = _in_float32


def _put_back(*_: Any) -> None:
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
