"""``torchvision/*``: video networks of torchvision."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
import torchvision.models.video as library
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from selfsup.backbones import BackboneRecipe, load_weights
from selfsup.config import Config, idle
from selfsup.errors import ConfigError, UnknownIdError
from selfsup.types import Info
from selfsup_video.backbones.base import ConvBackbone


class TorchvisionConfig(Config):
    """Options of a video network of torchvision."""

    name: str
    """A name of torchvision (``torchvision.models.list_models(torchvision.models.video)``): ``r2plus1d_18``, ``s3d``."""
    pretrained: bool = False
    """Whether to start from torchvision's default weights (Kinetics-400, with labels); fetched from the network. They
    bring the size of their frames; channels are scaled as theirs also with fresh weights."""
    checkpoint: str | None = None
    """Path of a state dict with torchvision's names to start from (``.safetensors``, or ``.pth`` with tensors only)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("backbone.checkpoint takes the place of the library's weights", self.checkpoint is not None, "pretrained")


class TorchvisionBackbone(ConvBackbone):
    """A video network of torchvision without its classifier; any number of frames and any size that its strides allow."""

    def __init__(self, model: nn.Module, embed_dim: int, info: Info, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__(info, mean, std)
        self.model = model
        self.embed_dim = embed_dim
        self.watch_time()

    def features(self, video: Tensor) -> Tensor:
        """[b, D, t, h, w]."""
        model: Any = self.model
        if isinstance(model, library.VideoResNet):
            x = model.stem(video)
            for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
                x = layer(x)
            resnet: Tensor = x
            return resnet
        if isinstance(model, library.S3D):
            s3d: Tensor = model.features(video)
            return s3d
        return self._swin(model, video)

    def _swin(self, model: Any, video: Tensor) -> Tensor:
        """Encode clips of each length separately, since its attention has no mask; this waits for the device once."""
        real = self._real.get(video.shape[2])
        if real is None:
            swin: Tensor = model.norm(model.features(model.pos_drop(model.patch_embed(video))))
            return swin.permute(0, 4, 1, 2, 3)
        self._real = {}
        shown = torch.zeros_like(real)
        maps: Tensor | None = None
        for length in sorted(set(real.tolist()), reverse=True):
            chosen = real == length
            seen = self._swin(model, video[chosen][:, :, :length])
            shown[chosen] = seen.shape[2]
            maps = seen.new_zeros(len(real), seen.shape[1], -(-video.shape[2] // 2), *seen.shape[3:]) if maps is None else maps
            maps[chosen, :, : seen.shape[2]] = seen
        assert maps is not None
        self._real = {maps.shape[2]: shown}
        return maps


def build_torchvision(config: TorchvisionConfig, info: Info) -> TorchvisionBackbone:
    """Build a video network of torchvision.

    Raises:
        UnknownIdError: torchvision has no such video network.
        ConfigError: it works for one size only (MViT), or its weights cannot be fetched.
        ArtifactError: the checkpoint cannot be read, or does not fit.
    """
    known = list_models(library)
    if config.name not in known:
        close = difflib.get_close_matches(config.name, known, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownIdError(f"torchvision has no video network {config.name!r}.{guess} It has {', '.join(known)}.")
    if config.name.startswith("mvit"):
        raise ConfigError(
            f"torchvision/{config.name} takes clips of one length and size only; choose r2plus1d_18, s3d or swin3d_t."
        )
    try:
        weights = get_model_weights(config.name)["DEFAULT"] if config.pretrained else None
        model = get_model(config.name, weights=weights)
    except OSError as error:
        raise ConfigError(f"the weights of torchvision/{config.name} cannot be fetched: {error}.") from error
    embed_dim, classifier = _cut_classifier(model)
    if config.checkpoint is not None:
        load_weights(model, Path(config.checkpoint), classifier)
    own = _own_transforms(config.name)
    return TorchvisionBackbone(model, embed_dim, info, tuple(own.mean), tuple(own.std))


def _own_transforms(name: str) -> Any:
    """The preprocessing of torchvision's weights: ``mean``, ``std``, ``crop_size``."""
    return get_model_weights(name)["DEFAULT"].transforms()


def _cut_classifier(model: Any) -> tuple[int, str]:
    """Remove the classifier; returns the width before it and its name."""
    if isinstance(model, library.VideoResNet):
        width, model.fc = int(model.fc.in_features), nn.Identity()
        return width, "fc"
    if isinstance(model, library.S3D):
        width, model.classifier = int(model.classifier[1].in_channels), nn.Identity()
        return width, "classifier"
    width, model.head = int(model.head.in_features), nn.Identity()
    return width, "head"


def preprocessing(config: TorchvisionConfig) -> dict[str, Any]:
    """The size of the frames that torchvision's weights were made with."""
    known = config.pretrained and config.name in list_models(library)
    return {"image_size": int(_own_transforms(config.name).crop_size[0])} if known else {}


RECIPE = BackboneRecipe(config=TorchvisionConfig, build=build_torchvision, preprocessing=preprocessing)
"""``torchvision/*``."""
