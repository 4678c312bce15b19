"""The time of attention in a CPU's bf16 step: computed in float32, as the trainer has it, against torch's bf16 kernel."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn import functional as F

from selfsup.training.device.attention import float32_attention
from selfsup_bench.executors.local import cpu_count
from speed.measure import Figure, in_turn, ratio_figure

SHAPE = (128, 3, 65, 32)
"""Samples, heads, tokens and channels of a head: a ViT of width 96 on 8 x 8 patches and a class token."""
_CALLS = 10


def attention_figure(*, repeats: int) -> Figure:
    """Forward and backward of scaled dot-product attention under bf16 autocast."""
    torch.set_num_threads(cpu_count())
    mine, other = in_turn(
        lambda: _milliseconds(lambda: float32_attention("cpu")), lambda: _milliseconds(nullcontext), repeats=repeats
    )
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


def _milliseconds(block: Callable[[], AbstractContextManager[None]]) -> float:
    """Median of some calls, on tensors that lie in memory as a network's do: views of one product, and back into rows."""
    generator = torch.Generator().manual_seed(0)
    B, H, N, D = SHAPE
    joined = torch.randn(B, N, 3, H, D, generator=generator).bfloat16().requires_grad_()
    gradient = torch.randn(B, N, H * D, generator=generator).bfloat16()
    took: list[float] = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16), block():
            q, k, v = joined.permute(2, 0, 3, 1, 4).unbind(0)
            out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, H * D)
        torch.autograd.backward(out, gradient)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took[1:])
