"""k-means of a stream: centroids that batches move one after the other, with all state in buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup.runtime.distributed import from_first_rank, sum_over_ranks
from selfsup.runtime.precision import full, no_autocast

RARE = 0.01
"""A centroid that gets less than this part of the commonest one's tokens starts anew."""
MEMORY = 0.9
"""What gets how many tokens is an average over about 1 / (1 - MEMORY) batches."""


class StreamingKMeans(nn.Module):
    """Mini-batch k-means (Sculley 2010, "Web-scale k-means clustering"), without a host sync.

    Each batch moves a centroid to the mean of all tokens that it was ever given. Centroids that hardly any token is given to of
    late, and at the beginning all, go to random tokens of the batch. Distances are Euclidean after each channel was divided by
    its standard deviation over all tokens seen. All devices keep the same centroids, which move once a step, in however many
    parts the batch is seen.

    Args:
        k: number of clusters.
        dim: width P of the tokens.
    """

    centroids: Tensor
    counts: Tensor
    recent: Tensor
    seen: Tensor
    mean: Tensor
    deviation: Tensor
    fitting: Tensor
    given: Tensor
    sums: Tensor
    squares: Tensor
    drawn: Tensor

    def __init__(self, k: int, dim: int) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("centroids", torch.randn(k, dim))
        self.register_buffer("counts", torch.zeros(k))
        self.register_buffer("recent", torch.zeros(k))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.zeros(dim))
        self.register_buffer("fitting", torch.ones(()))
        # What a step has collected so far; between steps there is nothing to keep.
        self.register_buffer("given", torch.zeros(k), persistent=False)
        self.register_buffer("sums", torch.zeros(k, dim), persistent=False)
        self.register_buffer("squares", torch.zeros(dim), persistent=False)
        self.register_buffer("drawn", torch.zeros(k, dim), persistent=False)

    @torch.no_grad()
    def assign(self, tokens: Tensor) -> Tensor:
        """[...] long, the nearest centroid of each of [..., P]; of equally near ones the first.

        Equal tokens make equal centroids, whose distances differ by rounding. Distances that close count as equal: equal tokens
        have one label whatever the batch and the device.
        """
        with no_autocast(tokens):
            scale = self._scale().to(full(tokens).dtype)
            centroids = self.centroids.to(scale.dtype) * scale
            x = (full(tokens) * scale).flatten(0, -2)
            # |x - c|^2 less |x|^2, which is the same for all c.
            squares = centroids.square().sum(dim=1)
            distance = torch.addmm(squares, x, centroids.T, alpha=-2)
            rounding = 16 * torch.finfo(x.dtype).eps * (squares.max() + x.square().sum(dim=1, keepdim=True))
            nearest = distance <= distance.amin(dim=1, keepdim=True) + rounding
            return nearest.to(torch.uint8).argmax(dim=1).view(tokens.shape[:-1])  # the first of equal values

    @torch.no_grad()
    def collect(self, tokens: Tensor, assigned: Tensor, weight: Tensor | None, generator: torch.Generator | None) -> None:
        """Note what :meth:`learn` needs of a batch, or of a part of one; nothing that :meth:`assign` uses changes.

        Args:
            tokens: [..., P].
            assigned: [...] long, from :meth:`assign`.
            weight: [...] bool or float, which tokens count; None: all.
            generator: draws the tokens that rare centroids go to.
        """
        x = full(tokens).to(self.centroids.dtype).flatten(0, -2)
        real = torch.ones(len(x), dtype=x.dtype, device=x.device) if weight is None else weight.flatten().to(x.dtype)
        index, counted = assigned.flatten(), x * real.unsqueeze(1)
        drawn = self._draw(x, real, generator)
        self.drawn.copy_(torch.where(self.given.sum() > 0, self.drawn, drawn))
        self.given.index_add_(0, index, real)
        self.sums.index_add_(0, index, counted)
        self.squares.add_(((x - self.mean).square() * real.unsqueeze(1)).sum(dim=0))

    @torch.no_grad()
    def learn(self) -> None:
        """Learn from what was collected on all devices, and forget it; nothing is learned unless ``fitting`` is 1."""
        counts, sums = sum_over_ranks(self.given), sum_over_ranks(self.sums)
        drawn = from_first_rank(self.drawn)
        self._observe(counts.sum(), sums.sum(dim=0), sum_over_ranks(self.squares))
        total = self.counts + counts
        moved = self.centroids + (sums - counts.unsqueeze(1) * self.centroids) / total.clamp(min=1).unsqueeze(1)
        recent = torch.where(counts.sum() > 0, MEMORY * self.recent + (1 - MEMORY) * counts, self.recent)
        rare = ((recent <= RARE * recent.max()) | (self.counts.sum() == 0)) & (counts.sum() > 0)
        self._keep(self.centroids, torch.where(rare.unsqueeze(1), drawn, moved))
        self._keep(self.counts, torch.where(rare, 1.0, total))
        # So that a new place is not rare at once.
        self._keep(self.recent, torch.where(rare, recent.mean() / 10, recent))
        self._forget()

    def update(self, tokens: Tensor, assigned: Tensor, weight: Tensor | None, generator: torch.Generator | None) -> None:
        """Learn from one batch at once: :meth:`collect`, then :meth:`learn`."""
        self.collect(tokens, assigned, weight, generator)
        self.learn()

    def reset(self) -> None:
        """Forget everything: the next batches are clustered from the start."""
        for buffer in (self.counts, self.recent, self.seen, self.mean, self.deviation):
            buffer.zero_()
        self._forget()
        self.fitting.fill_(1.0)

    def _draw(self, x: Tensor, real: Tensor, generator: torch.Generator | None) -> Tensor:
        """[k, P], random tokens that count, each at most once as far as there are enough."""
        score = torch.rand(len(x), generator=generator, device=x.device).masked_fill(real == 0, torch.inf)
        number = (real > 0).sum().clamp(min=1)
        return x[score.argsort()[torch.arange(self.k, device=x.device) % number]]

    def _observe(self, number: Tensor, total: Tensor, squares: Tensor) -> None:
        """Mean and summed squared deviation of all tokens so far (Chan et al. 1979).

        Args:
            number: scalar, how many tokens are new.
            total: [P], their sum.
            squares: [P], their summed squared distance from the mean of those before.
        """
        seen = self.seen + number
        shift = torch.where(number > 0, total / number.clamp(min=1) - self.mean, 0.0)
        self._keep(
            self.deviation, self.deviation + (squares - shift.square() * number * number / seen.clamp(min=1)).clamp(min=0)
        )
        self._keep(self.mean, self.mean + shift * number / seen.clamp(min=1))
        self._keep(self.seen, seen)

    def _forget(self) -> None:
        for buffer in (self.given, self.sums, self.squares):
            buffer.zero_()

    def _scale(self) -> Tensor:
        """[P], one over the standard deviation; 1 where nothing was seen or nothing varies."""
        variance = self.deviation / self.seen.clamp(min=1)
        return torch.where(variance > 1e-12, variance, 1.0).rsqrt()

    def _keep(self, buffer: Tensor, value: Tensor) -> None:
        buffer.copy_(torch.where(self.fitting > 0, value, buffer))
