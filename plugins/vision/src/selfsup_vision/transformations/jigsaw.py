"""In which of a set of orders were the tiles of an image laid?"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.images.pipeline import to_float
from selfsup.tasks import Transformation, Transformed
from selfsup.types import Batch, Info
from selfsup_vision.sizes import patch_size_for
from selfsup_vision.transformations.tiles import cut, take

_MEAN, _STD = 0.45, 0.225
"""Of ImageNet's pixels in 0..1; what normalised tiles are brought to."""


class JigsawConfig(Config):
    """Options of :class:`Jigsaw`."""

    n: int = Field(3, ge=2, le=3)
    """Tiles along each side of the image; 3 in the paper."""
    n_permutations: int = Field(100, ge=2, le=1000)
    """Orders that are told apart; 1000 in the paper; 100, as in Kolesnikov et al. 2019 (arXiv:1901.09005), suit small data."""
    tile_size: int | None = Field(None, ge=4)
    """Side of a tile in pixels; None: 64/75 of its cell as in the paper, in whole tokens (8 at 32, 64 at 224)."""
    normalize_tiles: bool = True
    """Bring each tile to one mean and deviation, so that light and contrast do not give neighbours away; so in the paper."""


class Jigsaw(Transformation):
    """Jigsaw puzzles (Noroozi & Favaro 2016, arXiv:1603.09246).

    Each tile is cut at a random place of its cell, encoded apart, and the order is told from all of them together. The set of
    orders is chosen greedily so that any two differ at as many places as possible.
    """

    kind = "class"
    orders: Tensor

    def __init__(self, config: JigsawConfig, tile_size: int) -> None:
        super().__init__()
        self.config = config
        self.tile_size = tile_size
        self.parts = config.n**2
        orders = permutation_set(self.parts, config.n_permutations)
        self.n_outputs = len(orders)
        self.register_buffer("orders", torch.from_numpy(orders.astype(np.int64)), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, 3, S, S] to [B * n * n, 3, tile, tile] float; the label is which order they are in."""
        image = batch["image"]
        B, device = image.shape[0], image.device
        tiles = self._jittered(cut(image, self.config.n), generator)
        label = torch.randint(self.n_outputs, (B,), generator=generator, device=device)
        tiles = to_float(take(tiles, self.orders[label])).flatten(0, 1)
        if self.config.normalize_tiles:
            std, mean = torch.std_mean(tiles, dim=(2, 3), keepdim=True)
            tiles = (tiles - mean) / (std + 1e-3) * _STD + _MEAN
        return Transformed({"image": tiles}, label)

    def _jittered(self, cells: Tensor, generator: torch.Generator | None) -> Tensor:
        """Cut [B, N, C, tile, tile] out of the cells [B, N, C, h, w], each at a random place."""
        B, N, _, h, w = cells.shape
        size = self.tile_size
        steps = torch.arange(size, device=cells.device)
        rows = torch.randint(h - size + 1, (B, N, 1), generator=generator, device=cells.device) + steps
        columns = torch.randint(w - size + 1, (B, N, 1), generator=generator, device=cells.device) + steps
        sample = torch.arange(B, device=cells.device).view(-1, 1, 1, 1)
        place = torch.arange(N, device=cells.device).view(1, -1, 1, 1)
        picked = cells.permute(0, 1, 3, 4, 2)[sample, place, rows.unsqueeze(3), columns.unsqueeze(2)]
        return picked.permute(0, 1, 4, 2, 3)


@lru_cache(maxsize=8)
def permutation_set(n: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """At most ``count`` orders of n things [count, n], chosen greedily for the largest least Hamming distance (algorithm 1).

    The paper draws the first order at random and breaks ties so; here both are the first in lexicographic order, so that every
    run has the same set.
    """
    every = np.array(list(permutations(range(n))), dtype=np.uint8)
    columns = np.ascontiguousarray(every.T)
    chosen = [0]
    nearest = np.full(len(every), n + 1, dtype=np.uint8)
    while len(chosen) < min(count, len(every)):
        distance = np.zeros(len(every), dtype=np.uint8)
        for column, value in zip(columns, every[chosen[-1]], strict=True):
            distance += column != value
        np.minimum(nearest, distance, out=nearest)
        chosen.append(int(nearest.argmax()))
    return every[chosen]


def build_jigsaw(config: JigsawConfig, info: Info) -> Jigsaw:
    """Make the transformation.

    Raises:
        ConfigError: the tiles do not fit into their cells.
    """
    image_size = int(info["image_size"])
    cell = image_size // config.n
    unit = patch_size_for(image_size)
    size = config.tile_size or max(round(cell * 64 / 75 / unit), 1) * unit
    size = size - unit if config.tile_size is None and size > cell else size
    if not 4 <= size <= cell:
        raise ConfigError(
            f"transformation.tile_size={size} does not suit images of {image_size} pixels: a tile has at least 4 and at most "
            f"{cell} pixels, {image_size} // {config.n}. Choose a larger processor.image_size, or another tile_size."
        )
    return Jigsaw(config, size)
