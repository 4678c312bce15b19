"""Fix 3-D convolutions of very short clips, whose bfloat16 gradients are wrong on a CPU.

Where a kernel is longer than the clip, so that padding lies on both of its ends at once, oneDNN reads memory that nobody wrote
in the backward pass of the weights (seen with torch 2.14 and AVX512-BF16: values of 1e35 and NaN). It does not where the clip
comes with the padding in it.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class ShortClipConv3d(nn.Conv3d):
    """A ``Conv3d`` with the same parameters and the same result, which puts zeros around short clips beforehand."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, T, H, W] to [B, C', T', H', W']."""
        time, height, width = cast("tuple[int, int, int]", self.padding)
        if not time or input.shape[-3] > self.dilation[0] * (self.kernel_size[0] - 1):
            return super().forward(input)
        padded = F.pad(input, (0, 0, 0, 0, time, time))
        return F.conv3d(padded, self.weight, self.bias, self.stride, (0, height, width), self.dilation, self.groups)


def pad_short_clips(module: nn.Module) -> None:
    """In place: let the plain 3-D convolutions of a module pad short clips themselves."""
    for part in module.modules():
        if type(part) is nn.Conv3d and part.padding_mode == "zeros" and not isinstance(part.padding, str):
            part.__class__ = ShortClipConv3d
