"""The CIE L*a*b* colour space (D65), and the cells of its ab plane that sRGB reaches."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
_DELTA = 6.0 / 29.0


def rgb_to_lab(image: Tensor) -> Tensor:
    """sRGB [B, 3, H, W] in 0..1 to [B, 3, H, W]: L in 0..100, a and b in about -110..110 (IEC 61966-2-1, CIE 1976)."""
    image = image.float()
    linear = torch.where(image > 0.04045, ((image + 0.055) / 1.055).clamp(min=0).pow(2.4), image / 12.92)
    red, green, blue = linear.unbind(dim=1)
    fx, fy, fz = (
        _lightness((row[0] * red + row[1] * green + row[2] * blue) / white) for row, white in zip(_XYZ, _WHITE, strict=True)
    )
    return torch.stack([116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)], dim=1)


def _lightness(t: Tensor) -> Tensor:
    return torch.where(t > _DELTA**3, t.clamp(min=_DELTA**3).pow(1 / 3), t / (3 * _DELTA**2) + 4.0 / 29.0)


@lru_cache(maxsize=8)
def ab_cells(width: float) -> tuple[Tensor, Tensor]:
    """The cells of a square lattice over the ab plane that sRGB colours fall into.

    Args:
        width: side of a cell.

    Returns:
        Centres [Q, 2], and a table [n, n] long from the rounded (a, b) / width, each shifted by n // 2, to the cell, or to the
        nearest one if sRGB has no such colour.
    """
    steps = torch.linspace(0, 1, 52)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 1, -1)
    ab = rgb_to_lab(cube)[0, 1:, 0].T
    reach = int((ab.abs().max() / width).round()) + 1
    places = torch.unique((ab / width).round().long(), dim=0)
    lattice = torch.cartesian_prod(torch.arange(-reach, reach + 1), torch.arange(-reach, reach + 1))
    table = torch.cdist(lattice.float(), places.float()).argmin(dim=1).view(2 * reach + 1, 2 * reach + 1)
    return places.float() * width, table
