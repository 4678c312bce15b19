"""Collectives with correct gradients, for losses over the global batch.

The convention is that of ``DistributedDataParallel``: all ranks have the same number of samples, the mean of their losses is
the global loss, and gradients of parameters are averaged over the ranks. Each objective then gives the gradients of one process
on the joined batch. In one process every function below is the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

M = TypeVar("M", bound=nn.Module)

SMALLEST_GROUP = 8
"""Least samples of a group of :class:`SplitBatchNorm`; 32 in MoCo's paper (256 images on 8 GPUs)."""


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
        # The rows of this rank are part of the loss of every rank, so their gradients add up.
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
        x: [B, ...], with the same shape on every rank.

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
    """Batch norm over the global batch, with correct gradients, also on CPUs (torch's SyncBatchNorm needs accelerators).

    Its submodules (dropout and activation of timm's fused layers) are applied to its output in order.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept every [B, C, ...]."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, ...]."""
        output = self._normalize(input) if self._is_split(input) else super().forward(input)
        for child in self.children():
            output = child(output)
        return output

    def _is_split(self, input: Tensor) -> bool:
        """Whether the statistics differ from those of the local rows."""
        return self.training and world_size() > 1

    def _normalize(self, x: Tensor) -> Tensor:
        return self._normalize_over_ranks(x, 1)

    def _normalize_over_ranks(self, x: Tensor, groups: int) -> Tensor:
        """Normalise by the statistics of neighbouring ranks; 1 group: of all ranks."""
        full = x if x.dtype == torch.float64 else x.float()
        dims = [0, *range(2, x.ndim)]
        var, mean = torch.var_mean(full, dim=dims, correction=0)
        # One collective for both: the total variance is the mean variance plus the variance of the means.
        parts = gather(torch.stack([mean, var])[None]).view(groups, -1, 2, len(mean))
        means = parts[:, :, 0].mean(dim=1)
        variances = (parts[:, :, 1] + (parts[:, :, 0] - means[:, None]).square()).mean(dim=1)
        count = x.numel() // x.shape[1] * world_size() // groups
        self._track(means.detach().mean(dim=0), variances.detach().mean(dim=0), count)
        own = rank() * groups // world_size()
        mean, var = means[own], variances[own]
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        output = (full - mean.view(shape)) * scale.view(shape)
        if self.bias is not None:
            output = output + self.bias.view(shape)
        return output.to(x.dtype)

    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        self._move_statistics(mean, var * (count / max(count - 1, 1)))

    @torch.no_grad()
    def _move_statistics(self, mean: Tensor, unbiased: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share: float | Tensor = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.float()
        self.running_mean.add_((mean.to(self.running_mean.dtype) - self.running_mean) * share)
        self.running_var.add_((unbiased.to(self.running_var.dtype) - self.running_var) * share)


class SplitBatchNorm(SynchronizedBatchNorm):
    """Batch norm over separate groups of neighbouring samples of the global batch, like devices without synced norm.

    With batch norm over the whole batch, a query can find its key by their shared statistics (He et al. 2019,
    arXiv:1911.05722, section 3.3). The number of groups is halved until each has at least 8 samples, and all have the same
    size and consist of whole devices or of equal parts of one; a single group is the whole batch. So groups are the same on any
    number of devices where both numbers are powers of two. Running statistics are averaged over the groups.

    Args are those of ``BatchNorm2d``, and ``splits``, the most groups of a global batch.
    """

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool, *, splits: int
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.splits = splits

    def groups(self, rows: int) -> int:
        """Number of groups of a global batch of ``rows`` samples."""
        count, devices = self.splits, world_size()
        while count > 1 and (rows % count or rows // count < SMALLEST_GROUP or (count % devices and devices % count)):
            count //= 2
        return max(count, 1)

    def _is_split(self, input: Tensor) -> bool:
        return super()._is_split(input) or (self.training and self.groups(len(input) * world_size()) > 1)

    def _normalize(self, x: Tensor) -> Tensor:
        groups = self.groups(len(x) * world_size())
        if groups < world_size() or groups == 1:
            return self._normalize_over_ranks(x, groups)
        parts = x.chunk(groups // world_size())
        shape = (len(parts), x.shape[1])
        full = torch.float64 if x.dtype == torch.float64 else torch.float32
        means, variances = torch.zeros(shape, dtype=full, device=x.device), torch.zeros(shape, dtype=full, device=x.device)
        # With momentum 1 the "running" statistics are those of the group.
        output = torch.cat(
            [
                F.batch_norm(part, means[k], variances[k], self.weight, self.bias, True, 1.0, self.eps)
                for k, part in enumerate(parts)
            ]
        )
        mean, var = mean_over_ranks(torch.stack([means.mean(dim=0), variances.mean(dim=0)]))
        self._move_statistics(mean, var)
        return output


def convert_sync_batchnorm(module: M) -> M:
    """Replace every batch norm in ``module`` by one over all ranks; weights, statistics and their names stay.

    Returns ``module``, or its replacement if it is a batch norm itself.
    """
    return _convert(module, SynchronizedBatchNorm)


def convert_split_batchnorm(module: M, splits: int) -> M:
    """Replace every batch norm in ``module`` by a :class:`SplitBatchNorm` with at most ``splits`` groups.

    Weights, statistics and their names stay. Returns ``module``, or its replacement if it is a batch norm itself.
    """
    return _convert(module, partial(SplitBatchNorm, splits=splits))


def _convert(module: M, kind: Callable[[int, float, float | None, bool, bool], _BatchNorm]) -> M:
    if isinstance(module, _BatchNorm) and not isinstance(module, SynchronizedBatchNorm):
        norm = kind(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
        norm._parameters = module._parameters
        norm._buffers = module._buffers
        norm._modules = module._modules
        return cast(M, norm.train(module.training))
    for name, child in module.named_children():
        setattr(module, name, _convert(child, kind))
    return module
