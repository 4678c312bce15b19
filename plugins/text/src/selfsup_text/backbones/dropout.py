"""Dropout that the views ask for: the mask is a function of a seed in the batch, so that a run can be repeated bit by bit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_WORD = 0xFFFFFFFF
_RESOLUTION = 1 << 24
SEED_KEY = "dropout_seed"
"""Key of the batch: [B] long, from which each sample's masks follow."""
RATE_KEY = "dropout_rate"
"""Key of the batch: [B] float, the share of numbers that is dropped."""


class DropoutNoise:
    """What the dropout modules of one network are told before it runs."""

    def __init__(self) -> None:
        self.seed: Tensor | None = None
        self.rate: Tensor | None = None
        self.used = False
        """Whether a dropout has acted since :meth:`set` was called last."""

    def set(self, seed: Tensor | None, rate: Tensor | None) -> None:
        """Drop by these from now on ([B] long, [B] float); None: not at all."""
        self.seed, self.rate, self.used = seed, rate, False


class SeededDropout(nn.Dropout):
    """Stands in the place of a network's dropout. Without a seed it does nothing, in training mode too.

    ``p`` stays 0, which networks read for the dropout of their attention weights.

    Args:
        noise: shared with the other dropouts of the network.
        salt: another number for each of them.
    """

    def __init__(self, noise: DropoutNoise, salt: int) -> None:
        super().__init__(0.0)
        self.noise = noise
        self.salt = salt

    def forward(self, input: Tensor) -> Tensor:
        """Drop numbers of [B, ...] and scale up what is left."""
        seed, rate = self.noise.seed, self.noise.rate
        if seed is None or rate is None or seed.shape[0] != input.shape[0]:
            return input
        self.noise.used = True
        kept = keep_mask(seed, self.salt, rate, tuple(input.shape))
        scale = (1 / (1 - rate)).to(input.dtype).view(-1, *(1 for _ in input.shape[1:]))
        return input * kept * scale


def keep_mask(seed: Tensor, salt: int, rate: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[B, ...] bool, False with probability ``rate``: a hash of (seed, salt, index of the number in its sample).

    Args:
        seed: [B] long.
        salt: which of several masks of one seed.
        rate: [B] float in 0..1.
        shape: of what is dropped, B first.
    """
    start = _mix(seed + salt * 0x9E3779B1)
    index = torch.arange(math.prod(shape[1:]), device=seed.device)
    hashed = _mix(start.unsqueeze(1) + index * 0x85EBCA77)
    threshold = (rate * _RESOLUTION).long().unsqueeze(1)
    return (hashed % _RESOLUTION >= threshold).view(shape)


def _mix(value: Tensor) -> Tensor:
    """A 32-bit integer hash (two rounds of xor-shift and multiply) in 64-bit arithmetic, which does not overflow."""
    value = value & _WORD
    for _ in range(2):
        value = ((value ^ (value >> 16)) * 0x45D9F3B) & _WORD
    return value ^ (value >> 16)


def seed_dropout(network: nn.Module, noise: DropoutNoise) -> int:
    """Put :class:`SeededDropout` in the place of every dropout of a network; how many there were."""
    found = [
        (parent, name)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Dropout) and not isinstance(child, SeededDropout)
    ]
    for salt, (parent, name) in enumerate(found):
        setattr(parent, name, SeededDropout(noise, salt))
    return len(found)
