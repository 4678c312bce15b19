"""Product quantization with the Gumbel softmax: continuous tokens become one entry of each of several codebooks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.runtime.distributed import mean_over_ranks, sum_over_ranks, world_size
from selfsup.runtime.precision import full, no_autocast


class QuantizerConfig(Config):
    """Options of :class:`ProductQuantizer`; the defaults are wav2vec 2.0's."""

    groups: int = Field(default=2, ge=1)
    """Codebooks G, one entry of each is chosen; 2 in the paper."""
    entries: int = Field(default=320, ge=2)
    """Entries V of each codebook; 320 in the paper, fewer suit small data."""
    dim: int = Field(default=256, ge=1)
    """Width of the joined entries, a multiple of ``groups``; 256 in the paper's BASE, 768 in its LARGE."""
    temperature: float = Field(default=2.0, gt=0)
    """Of the Gumbel softmax at the beginning of the run; 2 in the paper."""
    final_temperature: float = Field(default=0.5, gt=0)
    """The same at the end; 0.5 in the paper's BASE, 0.1 in its LARGE."""
    ramp: float = Field(default=0.7, gt=0, le=1)
    """Part of the run after which it is reached, falling exponentially; 277k of 400k updates in the paper's BASE."""


class Quantized(NamedTuple):
    """Tokens as entries of codebooks."""

    vectors: Tensor
    """[..., dim], the chosen entries of all groups joined; with gradient to codebooks and input."""
    codes: Tensor
    """[..., G] long, the chosen entries."""
    logits: Tensor
    """[..., G, V], from which they were chosen."""


class ProductQuantizer(nn.Module):
    """wav2vec 2.0's quantization module (Baevski et al. 2020, arXiv 2006.11477, equation 1).

    Logits of G groups of V entries; in training Gumbel noise is added and the arg max chosen, through which the gradient of the
    softmax flows (straight-through). In evaluation mode there is no noise. The input is layer-normalised first, without
    weights, so that tokens of any scale suit the authors' initial weights (normal with deviation 1).

    Args:
        n_in: width of the tokens.
        config: the options.

    Raises:
        ValueError: the joined width is no multiple of the number of groups.
    """

    temperature: Tensor

    def __init__(self, n_in: int, config: QuantizerConfig) -> None:
        super().__init__()
        if config.dim % config.groups:
            raise ValueError(f"dim={config.dim} is no multiple of groups={config.groups}")
        self.config = config
        self.choose = nn.Linear(n_in, config.groups * config.entries)
        nn.init.normal_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)
        self.codebooks = nn.Parameter(torch.rand(config.groups, config.entries, config.dim // config.groups))
        self.register_buffer("temperature", torch.tensor(config.temperature))

    def forward(self, tokens: Tensor, generator: torch.Generator | None) -> Quantized:
        """Quantize [..., n_in] in float32 at least."""
        with no_autocast(tokens):
            x = full(tokens)
            logits = self.choose(F.layer_norm(x, x.shape[-1:])).unflatten(-1, (self.config.groups, self.config.entries))
            noise = gumbel_noise(logits, generator) if self.training else torch.zeros_like(logits)
            chosen = straight_through(logits + noise, self.temperature)
            vectors = torch.einsum("...gv,gvd->...gd", chosen, self.codebooks).flatten(-2)
        return Quantized(vectors, chosen.detach().argmax(dim=-1), logits)

    def after_step(self, progress: float) -> None:
        """Lower the temperature."""
        start, end = self.config.temperature, self.config.final_temperature
        self.temperature.fill_(start * (end / start) ** min(max(progress / self.config.ramp, 0.0), 1.0))


def gumbel_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws of the Gumbel distribution, -ln(-ln(u)), of the shape, device and precision of ``like``."""
    u = torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    tiny = torch.finfo(like.dtype).tiny
    # u is below 1, but -ln(u) may still round to 0.
    return -(-(u.clamp(min=tiny)).log()).clamp(min=tiny).log()


def straight_through(logits: Tensor, temperature: Tensor) -> Tensor:
    """One-hot arg max of [..., V] with the gradient of softmax(logits / temperature)."""
    soft = (logits / temperature).softmax(dim=-1)
    hard = torch.zeros_like(soft).scatter(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
    return hard - soft.detach() + soft


def usage(distribution: Tensor, weight: Tensor | None) -> Tensor:
    """[G, V], the mean of ``distribution`` ([..., G, V]) over the tokens of all devices, by ``weight`` ([...]) if given."""
    flat = distribution.flatten(0, -3)
    if weight is None:
        return mean_over_ranks(flat.mean(dim=0))
    share = weight.flatten().to(flat.dtype)
    number = sum_over_ranks(share.sum()).clamp(min=1) / world_size()
    return mean_over_ranks(torch.einsum("m,mgv->gv", share, flat)) / number


def perplexity(distribution: Tensor) -> Tensor:
    """How many entries are in use, 1..V: the exponential of the entropy of [..., V]."""
    return (-torch.xlogy(distribution, distribution).sum(dim=-1)).exp()


def diversity_loss(distribution: Tensor) -> Tensor:
    """(GV - sum of the groups' perplexities) / GV: 0 where all entries are used alike, near 1 where one is used alone.

    The form of the authors' code. The paper (equation 4) writes the negative entropies; this is a monotone function of them.

    Args:
        distribution: [G, V], softmax probabilities averaged over the tokens of a batch.
    """
    G, V = distribution.shape
    return (G * V - perplexity(distribution).sum()) / (G * V)


def code_perplexity(codes: Tensor, entries: int, weight: Tensor | None) -> Tensor:
    """How many entries of a codebook the tokens of a batch are given to, 1..V, the mean over G codebooks.

    Args:
        codes: [..., G] long.
        entries: V.
        weight: [...], which tokens count; None: all.
    """
    G = codes.shape[-1]
    ones = torch.ones(codes.shape, device=codes.device) if weight is None else weight.unsqueeze(-1).expand(codes.shape).float()
    index = codes + entries * torch.arange(G, device=codes.device)
    counts = torch.zeros(G * entries, device=codes.device).scatter_add(0, index.flatten(), ones.flatten()).view(G, entries)
    return perplexity(counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).mean()
