"""Cut images into n x n tiles, and join tiles to images."""

from __future__ import annotations

import torch
from torch import Tensor


def cut(image: Tensor, n: int) -> Tensor:
    """[B, C, H, W] to [B, n * n, C, h, w], row by row, of the central part that n divides."""
    h, w = image.shape[2] // n, image.shape[3] // n
    top, left = (image.shape[2] - n * h) // 2, (image.shape[3] - n * w) // 2
    centre = image[:, :, top : top + n * h, left : left + n * w]
    B, C = image.shape[:2]
    return centre.reshape(B, C, n, h, n, w).permute(0, 2, 4, 1, 3, 5).reshape(B, n * n, C, h, w)


def join(tiles: Tensor, n: int, size: tuple[int, int], fill: float) -> Tensor:
    """The reverse of :func:`cut`: [B, n * n, C, h, w] to [B, C, *size], with ``fill`` around the tiles."""
    B, _, C, h, w = tiles.shape
    centre = tiles.reshape(B, n, n, C, h, w).permute(0, 3, 1, 4, 2, 5).reshape(B, C, n * h, n * w)
    top, left = (size[0] - n * h) // 2, (size[1] - n * w) // 2
    if (n * h, n * w) == size:
        return centre
    return torch.nn.functional.pad(centre, (left, size[1] - n * w - left, top, size[0] - n * h - top), value=fill)


def take(tiles: Tensor, order: Tensor) -> Tensor:
    """Reorder [B, N, C, h, w] by [B, N] long: tile ``order[b, i]`` comes to place i."""
    sample = torch.arange(tiles.shape[0], device=tiles.device).unsqueeze(1)
    return tiles[sample, order]


def windows(cells: Tensor, size: int, top: Tensor, left: Tensor) -> Tensor:
    """Cut a window out of each cell: [B, N, C, h, w] to [B, N, C, size, size].

    Args:
        cells: [B, N, C, h, w].
        size: side of a window in pixels.
        top: [B, N, 1] long, or [B, N, C] for separate windows of the channels.
        left: likewise.
    """
    B, N, C = cells.shape[:3]
    steps = torch.arange(size, device=cells.device)
    rows = top.view(B, N, -1, 1, 1) + steps.view(-1, 1)
    columns = left.view(B, N, -1, 1, 1) + steps
    sample = torch.arange(B, device=cells.device).view(-1, 1, 1, 1, 1)
    place = torch.arange(N, device=cells.device).view(-1, 1, 1, 1)
    channel = torch.arange(C, device=cells.device).view(-1, 1, 1)
    return cells[sample, place, channel, rows, columns]
