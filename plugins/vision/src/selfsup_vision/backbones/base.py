"""What all image backbones share: the normalisation of their input, and their state under timm's names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone, fit_channels
from selfsup.errors import ArtifactError
from selfsup.types import Batch, Info

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def statistics_for(channels: int, colors: tuple[float, ...]) -> tuple[float, ...]:
    """A mean or deviation of each channel: that of red, green and blue, or for other channels their average for each."""
    return colors if len(colors) == channels else (sum(colors) / len(colors),) * channels


def channels_of(info: Info) -> int:
    """Channels of the processor's images."""
    return int(info.get("channels", 3))


@dataclass(frozen=True)
class Construction:
    """How plain timm builds a network."""

    architecture: str
    """The name for ``timm.create_model``."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Its keyword arguments beside ``num_classes=0``; JSON values."""
    changes: tuple[str, ...] = ()
    """Lines of Python that change ``model`` after that, where timm has no argument for it."""

    def code(self) -> str:
        """The lines of Python that build the network."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.kwargs.items())
        lines = ["import timm", f"model = timm.create_model({self.architecture!r}, num_classes=0{arguments})"]
        return "\n".join([*(["import torch"] if self.changes else []), *lines, *self.changes])


class ImageBackbone(Backbone):
    """A network for batches ``{"image": [B, C, H, W]}``, uint8 or float in 0..1.

    Args:
        model: a timm model without classifier.
        construction: how plain timm builds that model.
        mean: of each channel in 0..1, taken from the input.
        std: of each channel in 0..1, the input is divided by it.
    """

    modality: ClassVar[str] = "vision"
    export_formats: ClassVar[tuple[str, ...]] = ("timm",)
    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        model: nn.Module,
        construction: Construction,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.model = model
        self.construction = construction
        # Stated in the export and rebuilt by the constructor, so that the state dict is timm's own but for a prefix.
        self.register_buffer("_mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    @property
    def channels(self) -> int:
        """C of the images that it takes."""
        return int(self._mean.shape[1])

    def normalized(self, batch: Batch) -> Tensor:
        """[B, C, H, W] float: the image with ``mean`` taken off, divided by ``std``."""
        image = batch["image"]
        if image.dtype == torch.uint8:
            return (image.to(self._mean.dtype) - self._mean * 255.0).div_(self._std * 255.0)
        return (image.to(self._mean.dtype) - self._mean).div_(self._std)

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """Take filters for other channels, as timm does with its weights for RGB."""
        wanted = (own.shape[0], weight.shape[1], *own.shape[2:])
        if weight.ndim == 4 and own.shape[1] == self.channels and weight.shape == wanted:
            return fit_channels(weight, self.channels)
        return None

    def describe_input(self) -> str:
        """The mean and the deviation of each channel."""
        mean, std = ([round(float(value), 4) for value in buffer.flatten()] for buffer in (self._mean, self._std))
        return f"channels are scaled by mean {mean} and deviation {std}"

    def export_state(self, format: str) -> dict[str, Tensor]:
        """The weights under another library's names.

        Args:
            format: ``timm``: what ``load_state_dict`` of the network that :meth:`export_metadata` describes takes.

        Raises:
            ArtifactError: another format was asked for.
        """
        self._check_format(format)
        return {name: value.detach() for name, value in self.model.state_dict().items()}

    def export_metadata(self, format: str) -> dict[str, str]:
        """What the other library needs to use these weights.

        Returns:
            ``architecture`` and ``kwargs`` (JSON) of ``timm.create_model``, ``mean`` and ``std`` (JSON) of the input in 0..1,
            and ``code``, the lines of Python that build the network as ``model``.

        Raises:
            ArtifactError: another format was asked for.
        """
        self._check_format(format)
        return {
            "architecture": self.construction.architecture,
            "kwargs": json.dumps(self.construction.kwargs),
            "mean": json.dumps([round(float(value), 6) for value in self._mean.flatten()]),
            "std": json.dumps([round(float(value), 6) for value in self._std.flatten()]),
            "code": self.construction.code(),
        }

    def _check_format(self, format: str) -> None:
        if format not in self.export_formats:
            raise ArtifactError(f"an image backbone has no export format {format!r}; it has: {', '.join(self.export_formats)}.")
