"""The base of image backbones: their input, and their export to timm."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from selfsup.backbones import fit_channels
from selfsup.errors import ArtifactError
from selfsup.types import Batch, Info
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD, PixelBackbone


def statistics_for(channels: int, colors: tuple[float, ...]) -> tuple[float, ...]:
    """The mean or deviation of each channel: those of red, green and blue, or their average for each of other channels."""
    return colors if len(colors) == channels else (sum(colors) / len(colors),) * channels


def channels_of(info: Info) -> int:
    """Channels of the processor's images."""
    return int(info.get("channels", 3))


@dataclass(frozen=True)
class Construction:
    """How to build a network with timm."""

    architecture: str
    """The name for ``timm.create_model``."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Its keyword arguments in addition to ``num_classes=0``; JSON values."""
    changes: tuple[str, ...] = ()
    """Lines of Python that then change ``model``, for changes without an argument in timm."""

    def code(self) -> str:
        """The lines of Python that build the network."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.kwargs.items())
        lines = ["import timm", f"model = timm.create_model({self.architecture!r}, num_classes=0{arguments})"]
        return "\n".join([*(["import torch"] if self.changes else []), *lines, *self.changes])


class ImageBackbone(PixelBackbone):
    """A network for batches ``{"image": [B, C, H, W]}``, uint8 or float in 0..1.

    Args:
        model: a timm model without classifier.
        construction: how timm builds that model.
        mean: see :class:`~selfsup_images.backbones.PixelBackbone`.
        std: see there.
    """

    modality: ClassVar[str] = "vision"
    export_formats: ClassVar[tuple[str, ...]] = ("timm",)

    def __init__(
        self,
        model: nn.Module,
        construction: Construction,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        self.model = model
        self.construction = construction

    @property
    def channels(self) -> int:
        """C of the images that it takes."""
        return int(self._mean.shape[0])

    def normalized(self, batch: Batch) -> Tensor:
        """[B, C, H, W] float, scaled."""
        return self.scaled(batch["image"])

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """Take filters for other channels, as timm does with its weights for RGB."""
        wanted = (own.shape[0], weight.shape[1], *own.shape[2:])
        if weight.ndim == 4 and own.shape[1] == self.channels and weight.shape == wanted:
            return fit_channels(weight, self.channels)
        return None

    def export_state(self, format: str) -> dict[str, Tensor]:
        """The weights under another library's names.

        Args:
            format: ``timm``, for ``load_state_dict`` of the network that :meth:`export_metadata` describes.

        Raises:
            ArtifactError: the format is unknown.
        """
        self._check_format(format)
        return {name: value.detach() for name, value in self.model.state_dict().items()}

    def export_metadata(self, format: str) -> dict[str, str]:
        """The metadata with which another library can use these weights.

        Returns:
            ``architecture`` and ``kwargs`` (JSON) of ``timm.create_model``, ``mean`` and ``std`` (JSON) of the input in 0..1,
            and ``code``, the lines of Python that build the network as ``model``.

        Raises:
            ArtifactError: the format is unknown.
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
