"""Dropout with masks that follow from seeds in the batch, so that runs are reproducible bit by bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_WORD = 0xFFFFFFFF
_RESOLUTION = 1 << 24
SEED_KEY = "dropout_seed"
"""Key of the batch: [B] long, seeds of each sample's masks."""
RATE_KEY = "dropout_rate"
"""Key of the batch: [B] float, dropout rates."""


class DropoutNoise:
    """Seeds and rates shared by the dropout modules of one network."""

    def __init__(self) -> None:
        self.seed: Tensor | None = None
        self.rate: Tensor | None = None
        self.used = False
        """Whether any dropout was applied since the last :meth:`set`."""

    def set(self, seed: Tensor | None, rate: Tensor | None) -> None:
        """Use these from now on ([B] long, [B] float); None: no dropout."""
        self.seed, self.rate, self.used = seed, rate, False

    @contextmanager
    def holding(self, seed: Tensor | None, rate: Tensor | None) -> Iterator[None]:
        """Use these while entered, and no dropout afterwards."""
        self.set(seed, rate)
        try:
            yield
        finally:
            self.set(None, None)


class SeededDropout(nn.Dropout):
    """Replaces a dropout module of a network. Without a seed it does nothing, even in training mode.

    ``p`` stays 0, because networks read it for the dropout of attention weights.

    Args:
        noise: shared by all dropout modules of the network.
        salt: a different number for each module.
    """

    def __init__(self, noise: DropoutNoise, salt: int) -> None:
        super().__init__(0.0)
        self.noise = noise
        self.salt = salt

    def forward(self, input: Tensor) -> Tensor:
        """Drop entries of [B, ...] and scale up the others."""
        seed, rate = self.noise.seed, self.noise.rate
        if seed is None or rate is None or seed.shape[0] != input.shape[0]:
            return input
        self.noise.used = True
        kept = keep_mask(seed, self.salt, rate, tuple(input.shape))
        scale = (1 / (1 - rate)).to(input.dtype).view(-1, *(1 for _ in input.shape[1:]))
        return input * kept * scale


def keep_mask(seed: Tensor, salt: int, rate: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[B, ...] bool, False with probability ``rate``: a hash of (seed, salt, index of the entry in its sample).

    Args:
        seed: [B] long.
        salt: selects one of several masks per seed.
        rate: [B] float in 0..1.
        shape: of the result, B first.
    """
    start = _mix(seed + salt * 0x9E3779B1)
    index = torch.arange(math.prod(shape[1:]), device=seed.device)
    hashed = _mix(start.unsqueeze(1) + index * 0x85EBCA77)
    threshold = (rate * _RESOLUTION).long().unsqueeze(1)
    return (hashed % _RESOLUTION >= threshold).view(shape)


def _mix(value: Tensor) -> Tensor:
    """A 32-bit integer hash (two rounds of xor-shift and multiply), in 64-bit arithmetic against overflow."""
    value = value & _WORD
    for _ in range(2):
        value = ((value ^ (value >> 16)) * 0x45D9F3B) & _WORD
    return value ^ (value >> 16)


def seed_dropout(network: nn.Module, noise: DropoutNoise) -> int:
    """Replace every dropout of a network by :class:`SeededDropout`; returns their number."""
    found = [
        (parent, name)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Dropout) and not isinstance(child, SeededDropout)
    ]
    for salt, (parent, name) in enumerate(found):
        setattr(parent, name, SeededDropout(noise, salt))
    return len(found)
