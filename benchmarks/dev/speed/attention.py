"""The time of attention in a CPU's bf16 step: computed in float32, as the trainer has it, against torch's bf16 kernel."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.runtime import cpu_count
from selfsup.training.device.attention import attend_in_float32
from speed.measure import Figure, in_turn, ratio_figure

SHAPE = (128, 3, 65, 32)
"""Samples, heads, tokens and channels of a head: a ViT of width 96 on 8 x 8 patches and a class token."""
_CALLS = 10


def attention_figure(*, repeats: int) -> Figure:
    """Forward and backward of scaled dot-product attention under bf16 autocast."""
    torch.set_num_threads(cpu_count())
    tuned, plain = _Attention(), _Attention()
    attend_in_float32(tuned)
    mine, other = in_turn(lambda: _milliseconds(tuned), lambda: _milliseconds(plain), repeats=repeats)
    return ratio_figure(
        "attention",
        f"attention of a bf16 step on a CPU, forward and backward, {' x '.join(map(str, SHAPE))}, in float32 against torch's "
        "bf16 kernel",
        mine,
        other,
        unit="ms",
        compare="<=",
        goal=0.8,
    )


class _Attention(nn.Module):
    def forward(self, joined: Tensor) -> Tensor:
        """[B, N, 3, H, D] to [B, N, H * D]."""
        q, k, v = joined.permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _milliseconds(attention: nn.Module) -> float:
    """Median of some calls, on tensors that lie in memory as a network's do: views of one product, and back into rows."""
    generator = torch.Generator().manual_seed(0)
    B, H, N, D = SHAPE
    joined = torch.randn(B, N, 3, H, D, generator=generator).bfloat16().requires_grad_()
    gradient = torch.randn(B, N, H * D, generator=generator).bfloat16()
    took: list[float] = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            out = attention(joined)
        torch.autograd.backward(out, gradient)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took[1:])
