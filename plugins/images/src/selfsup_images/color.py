"""Brightness, contrast, saturation, hue, greyscale and solarization of a batch, each sample with its own amount and order.

Brightness, contrast, saturation and greyscale are one formula, ``x * scale + grey * blend + mean(grey) * level``, so that one
pass serves samples at different steps of different orders. All functions work in place on float images in 0..1 and equal
torchvision's functions of the same names on each sample.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup_images.draws import uniform

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


class Jitter(NamedTuple):
    """The parameters of a colour jitter for B samples."""

    factors: Tensor
    """[B, 4]: brightness, contrast and saturation factor (1: no change), and hue shift in turns (0: no change)."""
    order: Tensor
    """[B, 4] long: a permutation of 0..3, which of the four comes first, second, ..."""

    used: Tensor
    """[B] bool: False where all factors are neutral."""

    def take(self, index: Tensor | slice) -> Jitter:
        """The parameters of some samples."""
        return Jitter(self.factors[index], self.order[index], self.used[index])

    def hue_step(self) -> Tensor:
        """[B] long: the step of the four at which hue comes."""
        return (self.order == _HUE).to(torch.uint8).argmax(dim=1)


def random_jitter(
    n: int,
    amounts: tuple[float, float, float, float],
    probability: float,
    *,
    generator: torch.Generator | None,
    device: torch.device,
) -> Jitter:
    """Draw as torchvision's ``ColorJitter`` inside ``RandomApply``.

    Args:
        n: number of samples.
        amounts: of brightness, contrast, saturation (factors in max(0, 1 - a) .. 1 + a) and hue (shift in -a .. a turns).
        probability: that a sample is changed at all.
        generator: source of randomness.
        device: of the parameters.
    """
    columns = [uniform((n,), max(0.0, 1 - a), 1 + a, generator=generator, device=device) for a in amounts[:3]]
    columns.append(uniform((n,), -amounts[3], amounts[3], generator=generator, device=device))
    order = torch.rand((n, 4), generator=generator, device=device).argsort(dim=1)
    used = torch.rand(n, generator=generator, device=device) < probability
    neutral = (torch.arange(4, device=device) != _HUE).to(torch.float32)
    return Jitter(torch.where(used.unsqueeze(1), torch.stack(columns, dim=1), neutral), order, used)


def jitter_(image: Tensor, jitter: Jitter, *, hue: bool = True) -> Tensor:
    """Apply a colour jitter in place, every sample in its own order.

    Each sample does its steps before hue, then the hue of all samples is shifted at once, then each does its remaining steps:
    the costliest step runs once, whatever the orders. On a CPU, where reading a number costs nothing, steps that no sample
    needs are skipped.

    Args:
        image: [B, 3, H, W] float in 0..1, contiguous; changed. Images with other channels use brightness and contrast only.
        jitter: the parameters.
        hue: False where no sample's hue changes, which saves that step.
    """
    if _nobody(jitter.used):
        return image
    scale, blend, level = _steps(jitter)
    if not hue:
        for step in range(4):
            affine_color_(image, scale[:, step], blend[:, step], level[:, step])
        return image
    hue_step, places = jitter.hue_step().unsqueeze(1), torch.arange(4, device=image.device)
    for used, steps in ((hue_step > places, (0, 1, 2)), (hue_step < places, (1, 2, 3))):
        # Neutral for the samples that do not take this step now.
        own = scale.where(used, scale.new_ones(())), blend * used, level * used
        for step in steps:
            if not _nobody(used[:, step]):
                affine_color_(image, *(each[:, step] for each in own))
        if steps[0] == 0:
            shift_hue_(image, jitter.factors[:, _HUE])
    return image


def recolor_(image: Tensor, jitter: Jitter | None, grey: Tensor | None, hue: bool) -> Tensor:
    """Apply a colour jitter and greyscale (``grey`` [B] bool) in place; None skips a step, ``hue`` as in :func:`jitter_`."""
    if jitter is not None:
        jitter_(image, jitter, hue=hue)
    return image if grey is None else greyscale_(image, grey)


def _nobody(used: Tensor) -> bool:
    """Whether certainly no sample is used; False where only the device knows."""
    return used.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(used.any())


def _steps(jitter: Jitter) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, blend and level, [B, 4] each: the arguments of :func:`affine_color_` at each step (neutral at the step of hue)."""
    factor = jitter.factors.gather(1, jitter.order)
    scale = torch.where(jitter.order == _HUE, torch.ones_like(factor), factor)
    rest = 1.0 - factor
    return scale, rest * (jitter.order == _SATURATION), rest * (jitter.order == _CONTRAST)


def affine_color_(image: Tensor, scale: Tensor, blend: Tensor, level: Tensor) -> Tensor:
    """In place: ``clamp(x * scale + grey * blend + mean(grey) * level, 0, 1)``.

    Brightness is (f, 0, 0), contrast (f, 0, 1 - f), saturation (f, 1 - f, 0), greyscale (0, 1, 0); (1, 0, 0) changes nothing.

    Args:
        image: [B, C, H, W] float in 0..1; changed.
        scale: [B].
        blend: [B], of the pixel's grey value.
        level: [B], of the mean grey value of the sample.
    """
    added = grey(image)
    mean = added.mean(dim=(2, 3), keepdim=True)
    added.mul_(blend.view(-1, 1, 1, 1)).add_(mean.mul_(level.view(-1, 1, 1, 1)))
    return _addcmul_(image, added, image, scale.view(-1, 1, 1, 1)).clamp_(0.0, 1.0)


def grey(image: Tensor) -> Tensor:
    """[B, 3, H, W] to the luma [B, 1, H, W] (ITU-R 601, with torchvision's digits); of other channels their mean."""
    if image.shape[1] != 3:
        return image.mean(dim=1, keepdim=True)
    red, green, blue = image[:, 0:1], image[:, 1:2], image[:, 2:3]
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def greyscale_(image: Tensor, used: Tensor) -> Tensor:
    """In place: make the samples of ``used`` ([B] bool) grey."""
    if _nobody(used):
        return image
    active = used.to(image.dtype)
    return affine_color_(image, 1.0 - active, active, torch.zeros_like(active))


def shift_hue_(image: Tensor, shift: Tensor) -> Tensor:
    """In place: turn the hue of each sample by ``shift`` ([B], in turns), keeping saturation and value (HSV), to rounding.

    With hue h in sixths of a turn, largest channel M and smallest m, HSV to RGB is ``m + (M - m) * clamp(|h - 3| - 1, 0, 1)``
    for red, and ``M - (M - m) * clamp(|h - o| - 1, 0, 1)`` with o = 2 for green and 4 for blue: no table and no branch.
    """
    red, green, blue = image.unbind(dim=1)
    top = torch.maximum(red, green)
    torch.maximum(top, blue, out=top)
    bottom = torch.minimum(red, green)
    torch.minimum(bottom, blue, out=bottom)
    chroma = top - bottom
    # In-place comparisons give 0 and 1 in float, which multiply much faster than a select.
    red_top = red.clone().eq_(top)
    green_top = green.clone().eq_(top).mul_(1.0 - red_top)
    blue_top = (1.0 - red_top).sub_(green_top)
    hue = (green - blue).mul_(red_top)
    hue.addcmul_((blue - red).add_(chroma, alpha=2.0), green_top)
    hue.addcmul_((red - green).add_(chroma, alpha=4.0), blue_top)
    # Where the chroma is 0 the hue is 0/tiny = 0, and is multiplied by that chroma below.
    hue.div_(chroma.clamp(min=torch.finfo(image.dtype).tiny))
    hue.add_((shift * 6.0).view(-1, 1, 1))
    hue.sub_((hue * (1.0 / 6.0)).floor_(), alpha=6.0)
    low, high = bottom.sub_(chroma), top.add_(chroma)
    _addcmul_(red, low, chroma, (hue - 3.0).abs_().clamp_(1.0, 2.0))
    _addcmul_(green, high, chroma, (hue - 2.0).abs_().clamp_(1.0, 2.0), value=-1.0)
    _addcmul_(blue, high, chroma, hue.sub_(4.0).abs_().clamp_(1.0, 2.0), value=-1.0)
    return image


def _addcmul_(out: Tensor, base: Tensor, first: Tensor, second: Tensor, value: float = 1.0) -> Tensor:
    """``base + value * first * second`` into ``out``. The compiler cannot write into a view; it removes the copy itself."""
    if torch.compiler.is_compiling():
        return out.copy_(torch.addcmul(base, first, second, value=value))
    return torch.addcmul(base, first, second, value=value, out=out)


def solarize(image: Tensor, used: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert the pixel values at or above ``threshold`` in the samples of ``used`` ([B] bool)."""
    return torch.where((image >= threshold) & used.view(-1, 1, 1, 1), 1.0 - image, image)
