"""Collectives with right gradients, for losses that are a function of the global batch.

The convention is that of ``DistributedDataParallel``: every rank has equally many samples, computes a loss whose mean over
the ranks is the global loss, and the gradients of the parameters are averaged over the ranks. Under it each objective gives
the gradients that one process would give on the joined batch. In one process every function below is the identity.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

M = TypeVar("M", bound=nn.Module)


def world_size() -> int:
    """Number of processes, 1 outside distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process, 0 outside distributed training."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # The rows of this rank enter the loss of every rank, so their gradients add up.
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        rows: int = ctx.rows
        return total.narrow(0, rank() * rows, rows)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce_mean(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _all_reduce_mean(grad)


def _all_reduce_mean(x: Tensor) -> Tensor:
    total = x.contiguous().clone()
    dist.all_reduce(total)
    return total / world_size()


def gather(x: Tensor) -> Tensor:
    """Join the rows of all ranks, in the order of the ranks, with gradient.

    Args:
        x: [B, ...], of one shape on every rank.

    Returns:
        [world_size * B, ...].
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)
    return gathered


def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, with gradient; same shape as ``x``."""
    if world_size() == 1:
        return x
    mean: Tensor = _Mean.apply(x)
    return mean


@torch.no_grad()
def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, without gradient."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().contiguous().clone()
    dist.all_reduce(total)
    return total


@torch.no_grad()
def max_over_ranks(x: Tensor) -> Tensor:
    """The element-wise maximum of a tensor over all ranks, without gradient."""
    if world_size() == 1:
        return x.detach()
    largest = x.detach().contiguous().clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


@torch.no_grad()
def from_first_rank(x: Tensor) -> Tensor:
    """Rank 0's tensor, on every rank (for random draws that all ranks must share)."""
    if world_size() == 1:
        return x
    shared = x.contiguous().clone()
    dist.broadcast(shared, src=0)
    return shared


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm over the global batch, on every device (torch's SyncBatchNorm is for accelerators only), with right gradients.

    Modules inside it (the dropout and activation of timm's fused layers) are applied to its output in their order.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Every [B, C, ...] will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, ...]."""
        output = self._normalize(input) if self.training and world_size() > 1 else super().forward(input)
        for child in self.children():
            output = child(output)
        return output

    def _normalize(self, x: Tensor) -> Tensor:
        full = x if x.dtype == torch.float64 else x.float()
        dims = [0, *range(2, x.ndim)]
        var, mean = torch.var_mean(full, dim=dims, correction=0)
        # One collective for both: the variance of all is the mean variance plus the variance of the means.
        parts = gather(torch.stack([mean, var])[None])
        mean = parts[:, 0].mean(dim=0)
        var = (parts[:, 1] + (parts[:, 0] - mean).square()).mean(dim=0)
        self._track(mean.detach(), var.detach(), x.numel() // x.shape[1] * world_size())
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        output = (full - mean.view(shape)) * scale.view(shape)
        if self.bias is not None:
            output = output + self.bias.view(shape)
        return output.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share: float | Tensor = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.float()
        unbiased = var * (count / max(count - 1, 1))
        self.running_mean.add_((mean.to(self.running_mean.dtype) - self.running_mean) * share)
        self.running_var.add_((unbiased.to(self.running_var.dtype) - self.running_var) * share)


def convert_sync_batchnorm(module: M) -> M:
    """Replace every batch norm in ``module`` by one over all ranks; weights, statistics and their names stay.

    Returns:
        ``module`` itself, or its replacement where it is a batch norm.
    """
    if isinstance(module, _BatchNorm) and not isinstance(module, SynchronizedBatchNorm):
        norm = SynchronizedBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        norm._parameters = module._parameters
        norm._buffers = module._buffers
        norm._modules = module._modules
        return cast(M, norm.train(module.training))
    for name, child in module.named_children():
        setattr(module, name, convert_sync_batchnorm(child))
    return module
