"""Random resized crops of a batch, each sample with its own box."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup_images.draws import uniform

_TRIES = 10
"""Boxes drawn for each sample, as in torchvision; the first that fits is used."""


def random_boxes(
    n: int,
    image: tuple[int, int] | Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    *,
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """Boxes as torchvision's ``RandomResizedCrop`` draws them (Szegedy et al. 2014, arXiv:1409.4842), for n samples at once.

    Args:
        n: number of samples.
        image: height and width in pixels, or those of each image [n, 2].
        scale: smallest and largest area, as a fraction of the image's.
        ratio: smallest and largest width/height; drawn uniformly in its logarithm.
        generator: source of randomness.
        device: of the boxes.

    Returns:
        [n, 4] float: top, left, height, width, in whole pixels.
    """
    height, width = sides(image, n, device)
    area = uniform((n, _TRIES), *scale, generator=generator, device=device).mul_((height * width).unsqueeze(1))
    aspect = uniform((n, _TRIES), math.log(ratio[0]), math.log(ratio[1]), generator=generator, device=device).exp_()
    w = (area * aspect).sqrt_().round_()
    h = (area / aspect).sqrt_().round_()
    fits = (w > 0) & (w <= width.unsqueeze(1)) & (h > 0) & (h <= height.unsqueeze(1))
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    some = fits.any(dim=1)
    fallback_h, fallback_w = _central_box(height, width, ratio)
    h = h.gather(1, first).squeeze(1).where(some, fallback_h)
    w = w.gather(1, first).squeeze(1).where(some, fallback_w)
    place = torch.rand((n, 2), generator=generator, device=device)
    top = torch.minimum((place[:, 0] * (height - h + 1)).floor_(), height - h)
    left = torch.minimum((place[:, 1] * (width - w + 1)).floor_(), width - w)
    top = top.where(some, ((height - fallback_h) / 2).floor_())
    left = left.where(some, ((width - fallback_w) / 2).floor_())
    return torch.stack([top, left, h, w], dim=1)


def resized_crop(image: Tensor, boxes: Tensor, size: int, flip: Tensor, lying: Tensor | None = None) -> Tensor:
    """Cut a box from each image, resize it to ``size`` (bilinear, antialiased where it shrinks), and mirror some.

    Equal to torchvision's ``resized_crop(..., antialias=True)`` followed by ``horizontal_flip``, sample by sample.

    Args:
        image: [B, C, H, W] float.
        boxes: [B, 4] float: top, left, height, width.
        size: side of the result in pixels.
        flip: [B] bool, which samples are mirrored left to right.
        lying: [B] bool, which images are stored transposed; boxes, flip and the result refer to the upright image. None: no
            image.

    Returns:
        [B, C, size, size].
    """
    if lying is not None:
        boxes = torch.where(lying.unsqueeze(1), boxes.view(-1, 2, 2).flip(2).flatten(1), boxes)
        crop = _crop(image, boxes, size, flip & lying, flip & ~lying)
        return torch.where(lying.view(-1, 1, 1, 1), crop.transpose(2, 3), crop)
    return _crop(image, boxes, size, None, flip)


def _crop(image: Tensor, boxes: Tensor, size: int, upside_down: Tensor | None, mirror: Tensor) -> Tensor:
    """:func:`resized_crop` of stored images; the rows of some are reversed, and the columns of some."""
    height, width = image.shape[-2:]
    top, left, h, w = boxes.unbind(dim=1)
    if height <= size and width <= size:
        # Nothing shrinks, so bilinear sampling needs no antialiasing.
        y = _centres(top, h, size)
        x = _centres(left, w, size)
        x = torch.where(mirror.unsqueeze(1), x.flip(1), x)
        if upside_down is not None:
            y = torch.where(upside_down.unsqueeze(1), y.flip(1), y)
        grid = torch.stack(
            [
                ((2 * x + 1) / width - 1).unsqueeze(1).expand(-1, size, -1),
                ((2 * y + 1) / height - 1).unsqueeze(2).expand(-1, -1, size),
            ],
            dim=-1,
        )
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    rows = _resize_weights(top, h, size, height)
    columns = _resize_weights(left, w, size, width)
    columns = torch.where(mirror.view(-1, 1, 1), columns.flip(1), columns)
    if upside_down is not None:
        rows = torch.where(upside_down.view(-1, 1, 1), rows.flip(1), rows)
    n, channels = image.shape[:2]
    narrow = torch.bmm(image.reshape(n, channels * height, width), columns.transpose(1, 2)).view(n, channels, height, size)
    return torch.matmul(rows.unsqueeze(1), narrow)


def box_locations(boxes: Tensor, image: tuple[int, int] | Tensor, flip: Tensor) -> Tensor:
    """The ``crop`` entry of a view: [B, 2, 2], origin and extent along y and x in 0..1 of the source.

    A mirrored sample has its x origin at the right edge of the box, and a negative extent. ``image`` is height and width, or
    those of each image [B, 2].
    """
    height, width = sides(image, len(boxes), boxes.device)
    top, left, h, w = boxes.unbind(dim=1)
    x_origin = torch.where(flip, left + w, left) / width
    x_extent = torch.where(flip, -w, w) / width
    return torch.stack([torch.stack([top / height, h / height], dim=1), torch.stack([x_origin, x_extent], dim=1)], dim=1)


def sides(image: tuple[int, int] | Tensor, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Height and width of each image, [n] float."""
    if isinstance(image, Tensor):
        height, width = image.to(torch.float32).unbind(dim=1)
        return height, width
    return torch.full((n,), float(image[0]), device=device), torch.full((n,), float(image[1]), device=device)


def _central_box(height: Tensor, width: Tensor, ratio: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Height and width [n] of the largest central box whose ratio is allowed."""
    h = torch.where(width / height < ratio[0], torch.minimum((width / ratio[0]).round(), height), height)
    w = torch.where(width / height > ratio[1], torch.minimum((height * ratio[1]).round(), width), width)
    return h, w


def _centres(origin: Tensor, extent: Tensor, size: int) -> Tensor:
    """[B, size]: the source coordinate of each output pixel's centre (pixel i is at i), within its box."""
    steps = torch.arange(size, device=origin.device, dtype=origin.dtype) + 0.5
    inside = (steps * (extent / size).unsqueeze(1) - 0.5).clamp_(min=0)
    return torch.minimum(inside, (extent - 1).unsqueeze(1)) + origin.unsqueeze(1)


def _resize_weights(origin: Tensor, extent: Tensor, size: int, length: int) -> Tensor:
    """[B, size, length]: the weight of each source pixel of the box in each output pixel; rows sum to one.

    A triangle as wide as an output pixel where the box shrinks, and as a source pixel where it grows.
    """
    scale = (extent / size).view(-1, 1, 1)
    steps = torch.arange(size, device=origin.device, dtype=origin.dtype).add_(0.5).view(1, -1, 1)
    source = torch.arange(length, device=origin.device, dtype=origin.dtype).add_(0.5).view(1, 1, -1)
    start = origin.view(-1, 1, 1)
    weights = (source - (start + steps * scale)).abs_().div_(scale.clamp(min=1.0))
    weights = weights.neg_().add_(1.0).clamp_(min=0.0)
    inside = (source > start) & (source < start + extent.view(-1, 1, 1))
    weights = weights * inside
    return weights.div_(weights.sum(dim=2, keepdim=True))
