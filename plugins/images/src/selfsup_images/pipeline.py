"""One augmented view of a batch: crop, flip, colour jitter, greyscale, blur, solarize, in this order.

All frames of a video change in the same way: crop and blur see its frames as further channels, the colour steps see them as one
tall image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from selfsup_images.blur import gaussian_blur, gaussian_kernels, kernel_size_for
from selfsup_images.color import Jitter, random_jitter, recolor_, solarize
from selfsup_images.crop import random_boxes, resized_crop
from selfsup_images.draws import random_subset, uniform

_CPU_NUMBERS = (2**18, 2**20)
"""Fewest and most numbers processed at once on a CPU: 1 to 4 MiB of float32, which fit its cache."""
_CPU_SAMPLES = 32
"""Samples processed at once on a CPU, within those bounds; with fewer, the calls of operators dominate."""
_DEVICE_NUMBERS = 2**28
"""On other devices: 1 GiB of float32, which bounds the memory beyond the views themselves."""

Recolor = Callable[[Tensor, Jitter | None, Tensor | None, bool], Tensor]
"""Changes colours in place (:func:`~selfsup_images.color.recolor_`)."""


@dataclass(frozen=True)
class ViewOptions:
    """The options of one view. Probabilities are per sample; amounts are those of torchvision's ``ColorJitter``."""

    size: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip_p: float
    jitter_p: float
    jitter: tuple[float, float, float, float]
    """Of brightness, contrast, saturation and hue."""
    grey_p: float
    blur_p: float
    blur_sigma: tuple[float, float]
    """Smallest and largest standard deviation in pixels."""
    solarize_p: float


@dataclass(frozen=True)
class Drawn:
    """The random numbers of one view of the whole batch, so that processing it in parts changes nothing."""

    boxes: Tensor
    """[B, 4], see :func:`random_boxes`."""
    flip: Tensor
    """[B] bool."""
    jitter: Jitter
    grey: Tensor
    """[B] bool."""
    blur: tuple[Tensor, Tensor, Tensor]
    """Index [k], whether it is used [k] bool, and deviation in pixels [k]."""
    solarize: tuple[Tensor, Tensor]
    """Index [k], and whether it is used [k] bool."""


def draw(
    options: ViewOptions, n: int, image: tuple[int, int] | Tensor, generator: torch.Generator | None, device: torch.device
) -> Drawn:
    """Draw the random numbers of a view of n images with one height and width, or one each ([n, 2])."""
    return draw_together([options], n, image, generator, device)


def draw_together(
    views: Sequence[ViewOptions],
    n: int,
    image: tuple[int, int] | Tensor,
    generator: torch.Generator | None,
    device: torch.device,
) -> Drawn:
    """Draw the random numbers of k views of n images at once, for k * n samples: one view after the other.

    Args:
        views: the options of each view, which differ in the probabilities of blur and solarization only.
        n: number of images.
        image: their height and width, or those of each ([n, 2]).
        generator: source of randomness.
        device: of the numbers.
    """
    options, total = views[0], len(views) * n
    sizes = image.repeat(len(views), 1) if isinstance(image, Tensor) else image
    boxes = random_boxes(total, sizes, options.scale, options.ratio, generator=generator, device=device)
    flip = torch.rand(total, generator=generator, device=device) < options.flip_p
    jitter = random_jitter(total, options.jitter, options.jitter_p, generator=generator, device=device)
    grey = torch.rand(total, generator=generator, device=device) < options.grey_p
    blurred, really = _subsets([view.blur_p for view in views], n, generator, device)
    sigma = uniform((blurred.shape[0],), *options.blur_sigma, generator=generator, device=device)
    solarized = _subsets([view.solarize_p for view in views], n, generator, device)
    return Drawn(boxes, flip, jitter, grey, (blurred, really, sigma), solarized)


def _subsets(
    probabilities: Sequence[float], n: int, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """:func:`random_subset` of the n samples of each view, where views with the same probability share one draw."""
    found: list[tuple[Tensor, Tensor]] = []
    first = 0
    for probability, run in groupby(probabilities):
        count = n * len(list(run))
        index, active = random_subset(count, probability, generator=generator, device=device)
        found.append((index + first if first else index, active))
        first += count
    if len(found) == 1:
        return found[0]
    return torch.cat([index for index, _ in found]), torch.cat([active for _, active in found])


def make_view(
    image: Tensor, options: ViewOptions, drawn: Drawn, lying: Tensor | None = None, recolor: Recolor = recolor_
) -> Tensor:
    """Apply what was drawn.

    Args:
        image: [B, C, H, W], or a video [B, 3, T, H, W], uint8 or float in 0..1; not changed.
        options: of the view.
        drawn: the random numbers, of B samples or of k * B: then of k views of the batch, one after the other.
        lying: [B] bool, which images are stored transposed; None: no image.
        recolor: :func:`~selfsup_images.color.recolor_`, perhaps compiled.

    Returns:
        [B or k * B, C, size, size] or [B or k * B, 3, T, size, size], float32 in 0..1. The mean grey that a change of contrast
        keeps is that of the whole video.
    """
    shape, size, bands = image.shape[1:-2], options.size, image.shape[1]
    image = image.flatten(1, -3)
    (samples, channels, height, width), n = image.shape, len(drawn.boxes)
    view = torch.empty((n, channels, size, size), device=image.device)
    # On a CPU samples with the same steps go into the same part, so that steps that no sample of a part needs are skipped.
    order = None
    if image.device.type == "cpu":
        order = (drawn.jitter.used * (8 + 2 * drawn.jitter.hue_step()) + drawn.grey).argsort()
    for start, stop in parts(n, channels * max(height * width, size * size), image.device):
        index: slice | Tensor = slice(start, stop) if order is None else order[start:stop]
        source = index
        if n != samples:  # only the images of this part are repeated
            source = (torch.arange(start, stop, device=image.device) if order is None else order[start:stop]) % samples
        part = to_float(image[source] if isinstance(source, slice) else image.index_select(0, source))
        lies = None if lying is None else lying[source]
        part = resized_crop(part, drawn.boxes[index], size, drawn.flip[index], lies).contiguous()
        colors = part.view(part.shape[0], bands, -1, size)
        if options.jitter_p > 0 or options.grey_p > 0:
            jitter = drawn.jitter.take(index) if options.jitter_p > 0 else None
            recolor(colors, jitter, drawn.grey[index] if options.grey_p > 0 else None, options.jitter[3] > 0)
        if not isinstance(index, slice):
            view.index_copy_(0, index, part)
        elif stop - start == n:
            view = part
        else:
            view[index] = part
    blurred, really, sigma = drawn.blur
    kernels = _kernels(sigma, really, kernel_size_for(size)) if blurred.shape[0] else sigma
    for start, stop in parts(blurred.shape[0], channels * size * size, image.device):
        index = blurred[start:stop]
        view.index_copy_(0, index, gaussian_blur(view.index_select(0, index), kernels[start:stop]))
    solarized, really = drawn.solarize
    for start, stop in parts(solarized.shape[0], channels * size * size, image.device):
        index = solarized[start:stop]
        view.index_copy_(0, index, solarize(view.index_select(0, index), really[start:stop]))
    return view.view(n, *shape, size, size)


def to_float(image: Tensor) -> Tensor:
    """uint8 to float32 in 0..1; other types to float32."""
    return image.float().mul_(1.0 / 255.0) if image.dtype == torch.uint8 else image.float()


def parts(n: int, numbers_each: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Consecutive ranges that cover n samples, each of a size that fits the device's memory."""
    least, most = _CPU_NUMBERS if device.type == "cpu" else (_DEVICE_NUMBERS, _DEVICE_NUMBERS)
    budget = min(max(_CPU_SAMPLES * numbers_each, least), most)
    step = max(1, budget // numbers_each)
    for start in range(0, n, step):
        yield start, min(start + step, n)


def _kernels(sigma: Tensor, used: Tensor, kernel_size: int) -> Tensor:
    """[k, kernel_size]: Gaussian weights, or those that change nothing."""
    identity = (torch.arange(kernel_size, device=sigma.device) == kernel_size // 2).to(sigma.dtype)
    return torch.where(used.unsqueeze(1), gaussian_kernels(sigma, kernel_size), identity)
