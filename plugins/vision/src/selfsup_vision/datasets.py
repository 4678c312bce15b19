"""Named image data sets of the Hugging Face hub. Each function gives one split; nothing is fetched before it is called."""

from __future__ import annotations

from typing import Any


def _load(name: str, split: str, config: str | None = None) -> Any:
    import datasets

    return datasets.load_dataset(name, config, split=split)


def cifar10(split: str) -> Any:
    """CIFAR-10 (Krizhevsky 2009): 60,000 images of 32x32 pixels in 10 classes; splits ``train`` and ``test``."""
    return _load("uoft-cs/cifar10", split)


def cifar100(split: str) -> Any:
    """CIFAR-100 (Krizhevsky 2009): 60,000 images of 32x32 pixels in 100 classes; splits ``train`` and ``test``."""
    return _load("uoft-cs/cifar100", split)


def stl10(split: str) -> Any:
    """STL-10 (Coates et al. 2011): 96x96 pixels, 10 classes; ``train`` (5,000), ``test`` (8,000), ``unlabeled`` (100,000)."""
    return _load("jxie/stl10", split)


def imagenette(split: str) -> Any:
    """Imagenette (Howard 2019): 13,394 images of ten easy ImageNet classes, shorter side 160; ``train`` and ``test``.

    ``test`` is what the hub calls ``validation``.
    """
    return _load("frgfm/imagenette", {"test": "validation"}.get(split, split), "160px")
