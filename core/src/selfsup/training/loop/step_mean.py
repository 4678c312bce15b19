"""Take the gradient of one mean over the whole batch of a step, for any number of chunks and devices.

A loss is a mean over tokens or samples, and chunks of a batch have unequal numbers of them. So each chunk's mean is weighted
(:class:`~selfsup.tasks.StepOutput`). Nothing here waits for the device. For losses that compare samples see
:mod:`selfsup.training.loop.gradient_cache`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfsup.runtime.distributed import sum_over_ranks, world_size
from selfsup.tasks import StepOutput, Term
from selfsup.training.device.fabric import Fabric, FabricModule
from selfsup.training.loop import sharding
from selfsup.types import Batch

Forward = Callable[[Batch], StepOutput]


class StepMean:
    """Takes the gradient of one step's mean.

    Args:
        fabric: the devices and the precision.
        module: the task as Fabric wrapped it.
        parameters: the trained ones; if weights are sharded, their shards.
    """

    def __init__(self, fabric: Fabric, module: FabricModule, parameters: Sequence[nn.Parameter]) -> None:
        self.fabric = fabric
        self.module = module
        self.parameters = list(parameters)

    def backward(self, forward: Forward, chunks: Sequence[Batch]) -> tuple[StepOutput, Tensor]:
        """Leave the gradient of the mean over all chunks and devices in the parameters.

        Args:
            forward: the task on one chunk.
            chunks: this device's share of the batch; all devices have the same numbers of samples and chunks.

        Returns:
            The last chunk's output, and a detached scalar whose mean over the devices is the loss of the whole batch.
        """
        if len(chunks) == 1:
            output = forward(chunks[0])
            loss = output.loss if world_size() == 1 else weighted_by_share(joined(output))
            self.fabric.backward(loss)
            return output, loss.detach()
        return self._accumulate(forward, chunks)

    def _accumulate(self, forward: Forward, chunks: Sequence[Batch]) -> tuple[StepOutput, Tensor]:
        """Go through the chunks one by one.

        The total weight is known only after the last chunk, so gradients are summed with the chunks' weights and divided at the
        end. Means over different things keep separate gradients until then; with a single mean, as in most tasks, that costs
        nothing.
        """
        rows = [len(next(iter(chunk.values()))) for chunk in chunks]
        sums: list[_WeightedSum] = []
        for index, chunk in enumerate(chunks):
            last = index == len(chunks) - 1
            with self._waiting(last, len(sums)):
                output = forward(chunk)
            terms = joined(output)
            sums = sums or [_WeightedSum(term) for term in terms]
            with self._waiting(last, len(sums)):
                for place, (term, total) in enumerate(zip(terms, sums, strict=True)):
                    total.enter(self.parameters if len(sums) > 1 else [])
                    self.fabric.backward(total.add(term, rows[index] / sum(rows)), retain_graph=place < len(sums) - 1)
                    total.leave(self.parameters if len(sums) > 1 else [])
        for total in sums:
            total.finish()
        if len(sums) == 1:
            sums[0].divide([parameter.grad for parameter in self.parameters])
        else:
            self._combine(sums)
        return output, torch.stack([total.loss for total in sums]).sum()

    def _waiting(self, last: bool, means: int) -> AbstractContextManager[None]:
        """Keep gradients on this device until the last chunk.

        DDP expects one backward pass per forward pass, and several means need several: then :meth:`_combine` averages the
        gradients. Sharded weights have no whole gradients to keep: with several means, every pass averages them.
        """
        waits = not last if means < 2 else not sharding.is_sharded(self.module.module)
        manager: AbstractContextManager[None] = self.fabric.no_backward_sync(self.module, enabled=waits)
        return manager

    @torch.no_grad()
    def _combine(self, sums: Sequence[_WeightedSum]) -> None:
        """Put the sum of all means' gradients into the parameters."""
        for total in sums:
            total.divide(total.gradients)
        for parameter, *gradients in zip(self.parameters, *(total.gradients for total in sums), strict=True):
            found = [gradient for gradient in gradients if gradient is not None]
            for gradient in found[1:]:
                found[0].add_(gradient)
            parameter.grad = found[0] if found else None
        if not sharding.is_sharded(self.module.module):
            average_over_devices(self.parameters)


class _WeightedSum:
    """The sum of one mean over chunks by their weights, and its gradient."""

    def __init__(self, term: Term) -> None:
        self.loss = torch.zeros_like(term.loss)
        """The mean over all chunks, after :meth:`finish`."""
        self.gradients: list[Tensor | None] = []
        self._total = torch.zeros_like(term.loss)
        self._counted = term.weight is not None
        self._unit, self._factor = torch.ones_like(self._total), torch.ones_like(self._total)
        if term.weight is not None:
            # Divide weights by that of the first chunk, so that half precision does not overflow.
            first = mean_over_devices(term.weight.to(self._total.dtype))
            self._unit = torch.where(first > 0, first, 1.0)

    def add(self, term: Term, share: float) -> Tensor:
        """Add a chunk and return the tensor to differentiate; ``share`` is the chunk's share of the batch's samples."""
        weight: Tensor | float = share if term.weight is None else term.weight.to(self._total.dtype) / self._unit
        self._total += weight
        self.loss += weight * term.loss.detach()
        return term.loss * weight

    def finish(self) -> None:
        """Take the total weight of all chunks on all devices. If it is 0, loss and gradient are 0."""
        if self._counted:
            total = mean_over_devices(self._total)
            self._factor = torch.where(total > 0, 1 / total, 0.0)
            self.loss = self.loss * self._factor

    @torch.no_grad()
    def divide(self, gradients: Sequence[Tensor | None]) -> None:
        """Divide the gradients of the sum by the total weight, in place."""
        if self._counted:
            torch._foreach_mul_([sharding.own_part(each) for each in gradients if each is not None], self._factor)

    def enter(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put this mean's gradient into the parameters, to add to it."""
        for parameter, gradient in zip(parameters, self.gradients, strict=False):
            parameter.grad = gradient

    def leave(self, parameters: Sequence[nn.Parameter]) -> None:
        """Take this mean's gradient out of the parameters."""
        self.gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None


@torch.no_grad()
def average_over_devices(parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over the devices; each device must have gradients of the same parameters."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for work in [dist.all_reduce(gradient, async_op=True) for gradient in gradients]:
        work.wait()
    torch._foreach_div_(gradients, world_size())


def joined(output: StepOutput) -> list[Term]:
    """The means that add up to the loss, joined where they have the same weight."""
    terms: dict[int, Term] = {}
    for term in output.terms or (Term(output.loss, output.weight),):
        known = terms.get(id(term.weight))
        terms[id(term.weight)] = term if known is None else Term(known.loss + term.loss, term.weight)
    return list(terms.values())


def weighted_by_share(terms: Sequence[Term]) -> Tensor:
    """The sum of means, each times its weight divided by the devices' mean weight.

    The mean of this over the devices is that of the whole batch.
    """
    weights = [term.weight for term in terms if term.weight is not None]
    losses = [term.loss for term in terms if term.weight is None]
    if weights:
        counted = torch.stack([term.loss for term in terms if term.weight is not None])
        own = torch.stack(weights).to(counted.dtype)
        mean = mean_over_devices(own)
        losses.append((counted * torch.where(mean > 0, own / mean, 0.0)).sum())
    return torch.stack(losses).sum()


def mean_over_devices(x: Tensor) -> Tensor:
    """The same on every device, without gradient."""
    return sum_over_ranks(x) / world_size()
