"""Compute convolutions of small feature maps as matrix products, several times faster on a CPU.

An ImageNet network on small images ends in maps of 2x2 and 1x1 pixels, where most of a kernel lies outside of the map. There a
convolution is one product of all input pixels with a matrix of those kernel weights that meet a pixel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MOST_PIXELS = 4
"""Larger maps are left to the convolution: the matrix grows with the square of their size."""


class SmallMapConv2d(nn.Conv2d):
    """A ``Conv2d`` with the same parameters and, to rounding, the same result, by a matrix product where the map is small."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        height, width = input.shape[-2:]
        if input.dim() != 4 or height * width > _MOST_PIXELS:
            return super().forward(input)
        taps = _taps((height, width), *_geometry(self))
        if taps is None:
            return super().forward(input)
        size, places = taps
        outputs, (c_out, c_in) = size[0] * size[1], self.weight.shape[:2]
        kernel = self.weight.permute(2, 3, 0, 1).flatten(0, 1)
        if len(places) == 1:
            matrix = kernel[places[0]]
        else:
            met = kernel.index_select(0, torch.tensor(places, device=kernel.device))
            matrix = met.view(outputs, -1, c_out, c_in).transpose(1, 2).reshape(outputs * c_out, -1)
        bias = None if self.bias is None else self.bias.repeat(outputs)
        product = F.linear(input.permute(0, 2, 3, 1).flatten(1), matrix, bias)
        return product.view(-1, *size, c_out).permute(0, 3, 1, 2)


def multiply_small_maps(module: nn.Module) -> None:
    """In place: let the plain convolutions of a module use matrix products on small maps."""
    for part in module.modules():
        if type(part) is nn.Conv2d and part.groups == 1 and part.padding_mode == "zeros" and not isinstance(part.padding, str):
            part.__class__ = SmallMapConv2d


_Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _geometry(part: nn.Conv2d) -> _Geometry:
    """Kernel size, stride, padding and dilation."""
    return part.kernel_size, part.stride, cast("tuple[int, ...]", part.padding), part.dilation


@lru_cache(maxsize=256)
def _taps(
    size: tuple[int, int], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], list[int]] | None:
    """Size of the output, and which place of the kernel each output pixel (slow) lays on each input pixel (fast).

    None if some output pixel does not see some input pixel: then the matrix would hold zeros, and the convolution is better.
    """
    out = [(size[d] + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1) // stride[d] + 1 for d in (0, 1)]
    places: list[int] = []
    for output in ((y, x) for y in range(out[0]) for x in range(out[1])):
        for pixel in ((y, x) for y in range(size[0]) for x in range(size[1])):
            offset = [pixel[d] + padding[d] - output[d] * stride[d] for d in (0, 1)]
            if any(offset[d] % dilation[d] or not 0 <= offset[d] // dilation[d] < kernel[d] for d in (0, 1)):
                return None
            places.append(offset[0] // dilation[0] * kernel[1] + offset[1] // dilation[1])
    return (out[0], out[1]), places
