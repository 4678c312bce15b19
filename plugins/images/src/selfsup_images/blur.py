"""Gaussian blur of a batch, each sample with its own width."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def kernel_size_for(size: int) -> int:
    """A tenth of the image side, odd and at least 3 (Chen et al. 2020, arXiv:2002.05709, appendix A): 23 at 224."""
    return max(3, size // 10 + (1 - size // 10 % 2))


def gaussian_kernels(sigma: Tensor, kernel_size: int) -> Tensor:
    """[B] standard deviations in pixels to [B, kernel_size] weights that sum to one."""
    offsets = torch.arange(kernel_size, device=sigma.device, dtype=sigma.dtype) - kernel_size // 2
    return torch.softmax(-0.5 * (offsets / sigma.unsqueeze(1)).square(), dim=1)


def gaussian_blur(image: Tensor, kernels: Tensor) -> Tensor:
    """Blur each sample along both axes with its own kernel, mirroring at the edges, as torchvision's ``gaussian_blur`` does.

    Args:
        image: [B, C, H, W] float; H and W above half the kernel.
        kernels: [B, k], k odd.
    """
    n, channels, height, width = image.shape
    k = kernels.shape[1]
    weight = kernels.to(image.dtype).repeat_interleave(channels, dim=0)
    # One depthwise convolution with B*C channels: all samples in one call, each with its own weights.
    flat = F.pad(image, (k // 2, k // 2, k // 2, k // 2), mode="reflect").view(1, n * channels, height + k - 1, width + k - 1)
    flat = F.conv2d(flat, weight.view(-1, 1, 1, k), groups=n * channels)
    return F.conv2d(flat, weight.view(-1, 1, k, 1), groups=n * channels).view(n, channels, height, width)
