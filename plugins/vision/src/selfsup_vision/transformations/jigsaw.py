"""Predict the order of the shuffled tiles of an image."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, TransformationRecipe, Transformed
from selfsup.types import Batch, Info
from selfsup_images.color import grey as luma
from selfsup_images.pipeline import to_float
from selfsup_vision.backbones.base import channels_of
from selfsup_vision.sizes import patch_size_for
from selfsup_vision.transformations.tiles import cut, take, windows

_MEAN, _STD = 0.45, 0.225
"""Of ImageNet's pixels in 0..1; the mean and deviation of normalised tiles."""


class JigsawConfig(Config):
    """Options of :class:`Jigsaw`."""

    n: int = Field(3, ge=2, le=3)
    """Tiles along each side of the image; 3 in the paper."""
    n_permutations: int = Field(100, ge=2, le=1000)
    """Orders to classify; 1000 in the paper; 100 for small data, as in Kolesnikov et al. 2019 (arXiv:1901.09005)."""
    tile_size: int | None = Field(None, ge=4)
    """Side of a tile in pixels; None: 64/75 of its cell as in the paper, in whole tokens (8 at 32, 64 at 224)."""
    grey_p: float = Field(0.3, ge=0, le=1)
    """Share of the images whose tiles are grey, against chromatic aberration; 0.3 in the paper."""
    channel_shift: float = Field(2 / 64, ge=0, le=0.5)
    """Largest shift of each colour channel of a tile, as a fraction of the tile's side, in whole pixels; 2 of 64 in the paper;
    none for tiles below 16."""
    normalize_tiles: bool = True
    """Give each tile the same mean and deviation, as in the paper, so that light and contrast do not reveal neighbours."""


class Jigsaw(Transformation):
    """Jigsaw puzzles (Noroozi & Favaro 2016, arXiv:1603.09246).

    Each tile is cut at a random place of its cell and encoded separately, and the order is predicted from all of them together.
    The paper's guards against shortcuts are included: random distances of tiles, normalisation of each tile, some grey images,
    and relative shifts of the colour channels of the others.

    Raises:
        ConfigError: the tiles do not fit into their cells.
    """

    kind = "class"
    orders: Tensor

    def __init__(self, config: JigsawConfig, info: Info) -> None:
        super().__init__()
        self.config, channels = config, channels_of(info)
        self.grey_p = config.grey_p if channels == 3 else 0.0
        if config.grey_p and not self.grey_p:
            self.note = f"No tiles are made grey: images with {channels} channels have no colours."
        self.tile_size = _tile_size(config, int(info["image_size"]))
        self.parts = config.n**2
        orders = permutation_set(self.parts, config.n_permutations)
        self.n_outputs = len(orders)
        self.register_buffer("orders", torch.from_numpy(orders.astype(np.int64)), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, C, S, S] to [B * n * n, C, tile, tile] float; the label is the number of their order."""
        image = batch["image"]
        B, device = image.shape[0], image.device
        grey = torch.rand((B, 1, 1, 1, 1), generator=generator, device=device) < self.grey_p
        tiles = to_float(self._jittered(cut(image, self.config.n), grey, generator))
        if self.grey_p:
            tiles = torch.where(grey, luma(tiles.flatten(0, 1)).view(B, -1, 1, *tiles.shape[3:]), tiles)
        label = torch.randint(self.n_outputs, (B,), generator=generator, device=device)
        tiles = take(tiles, self.orders[label]).flatten(0, 1)
        if self.config.normalize_tiles:
            std, mean = torch.std_mean(tiles, dim=(2, 3), keepdim=True)
            tiles = (tiles - mean) / (std + 1e-3) * _STD + _MEAN
        return Transformed({"image": tiles}, label)

    def _jittered(self, cells: Tensor, grey: Tensor, generator: torch.Generator | None) -> Tensor:
        """Cut [B, N, C, tile, tile] out of the cells [B, N, C, h, w], each at a random place.

        The channels of images that do not become ``grey`` ([B, 1, 1, 1, 1] bool) are shifted a little.
        """
        B, N, C, h, w = cells.shape
        size, device = self.tile_size, cells.device
        top = torch.randint(h - size + 1, (B, N, 1), generator=generator, device=device)
        left = torch.randint(w - size + 1, (B, N, 1), generator=generator, device=device)
        most = round(size * self.config.channel_shift)
        if most and self.grey_p < 1:
            apart = torch.randint(-most, most + 1, (2, B, N, C), generator=generator, device=device)
            apart = apart * ~grey.view(B, 1, 1)
            top, left = (top + apart[0]).clamp(0, h - size), (left + apart[1]).clamp(0, w - size)
        return windows(cells, size, top, left)


@lru_cache(maxsize=8)
def permutation_set(n: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """At most ``count`` orders of n things [count, n]: the paper's algorithm 1.

    The first is random, but the same in all runs. Each further one has the largest sum of Hamming distances to those chosen
    before; of equal ones the first in lexicographic order is used.
    """
    every = np.array(list(permutations(range(n))), dtype=np.uint8)
    columns = np.ascontiguousarray(every.T)
    chosen = [int(np.random.default_rng(0).integers(len(every)))]
    total = np.zeros(len(every), dtype=np.int32)
    while len(chosen) < min(count, len(every)):
        for column, value in zip(columns, every[chosen[-1]], strict=True):
            total += column != value
        # Below all sums, so that it is not chosen again.
        total[chosen[-1]] = -n * len(every)
        chosen.append(int(total.argmax()))
    return every[chosen]


def _tile_size(config: JigsawConfig, image_size: int) -> int:
    """Side of a tile in pixels."""
    cell, unit = image_size // config.n, patch_size_for(image_size)
    size = config.tile_size or max(round(cell * 64 / 75 / unit), 1) * unit
    size = size - unit if config.tile_size is None and size > cell else size
    if not 4 <= size <= cell:
        raise ConfigError(
            f"transformation.tile_size={size} does not suit images of {image_size} pixels: a tile has at least 4 and at most "
            f"{cell} pixels, {image_size} // {config.n}. Choose a larger processor.image_size, or another tile_size."
        )
    return size


RECIPE = TransformationRecipe(config=JigsawConfig, build=Jigsaw)
"""The transformation of ``vision/jigsaw``."""
