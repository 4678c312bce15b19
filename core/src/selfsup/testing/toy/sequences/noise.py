"""Noise on tokens: other ids, or Gaussian noise on frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup.types import Info


class Noise(nn.Module):
    """Replaces a share of ids, or adds noise to frames; every token draws for itself.

    Args:
        info: of the processor.
        amount: share of ids that is replaced, or deviation in standard deviations of each channel.
    """

    std: Tensor

    def __init__(self, info: Info, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.vocabulary = info.get("vocabulary", 0)
        self.register_buffer("std", torch.tensor(info.get("std", [1.0]), dtype=torch.float32), persistent=False)

    def forward(self, sequence: Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, N] long or [B, N, C] float, to the same."""
        device = sequence.device
        if sequence.is_floating_point():
            noise = torch.randn(sequence.shape, generator=generator, device=device)
            return sequence + self.amount * self.std * noise
        other = torch.randint(self.vocabulary, sequence.shape, generator=generator, device=device)
        replaced = torch.rand(sequence.shape, generator=generator, device=device) < self.amount
        return torch.where(replaced, other, sequence)
