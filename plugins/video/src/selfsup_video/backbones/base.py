"""The bases of video backbones: several clips in one batch, and padding behind short videos."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from selfsup.backbones import Encoded, mean_over_tokens
from selfsup.types import Batch, Info
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD, PixelBackbone
from selfsup_video.clips import clip_shape, is_padding, real_frames, take_frames


class VideoBackbone(PixelBackbone):
    """A network for batches ``{"video": [B, T, 3, H, W]}``, uint8 or float in 0..1, and ``length`` ([B] long) of short videos.

    Clips are encoded separately and their embeddings averaged. Frames after the first ``length`` of each clip change nothing in
    evaluation mode.

    Args:
        info: of the processor.
        mean: see :class:`~selfsup_images.backbones.PixelBackbone`.
        std: see there.
    """

    modality: ClassVar[str] = "video"

    def __init__(self, info: Info, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> None:
        super().__init__(mean, std)
        self.info = {"frames": int(info["frames"])}

    def middle_frame(self, batch: Batch) -> Tensor:
        """[B, 1, 3, H, W], the middle real frame of the middle clip."""
        video, real = batch["video"], real_frames(batch)
        clips, frames = clip_shape(video, self.info)
        first = clips // 2 * frames
        if real is None:
            middle = first + frames // 2
            return video[:, middle : middle + 1]
        return take_frames(video, (first + real.clamp(max=frames) // 2).unsqueeze(1))


class ConvBackbone(VideoBackbone):
    """A network whose feature map is pooled. It encodes each clip separately and averages the embeddings.

    After the real frames of a short clip, the input of each layer that mixes times is zero, like the padding of convolutions
    after a whole clip. So padding changes nothing.
    """

    _real: dict[int, Tensor]

    def forward(self, batch: Batch) -> Encoded:
        """Encode; tokens are the places of the feature maps, with the clips in order along time."""
        video, real = batch["video"], real_frames(batch)
        clips, frames = clip_shape(video, self.info)
        real = None if real is None else real.clamp(max=frames).repeat_interleave(clips)
        pixels = self.scaled(video.reshape(-1, frames, *video.shape[2:])).transpose(1, 2)
        self._real = {} if real is None else {frames: real}
        features = self.features(pixels)
        t, h, w = features.shape[2:]
        tokens = features.flatten(2).transpose(1, 2).reshape(video.shape[0], clips * t * h * w, -1)
        padding = None
        if real is not None:
            padding = is_padding(self._real[t], t).repeat_interleave(h * w, dim=1).view(video.shape[0], -1)
        self._real = {}
        return Encoded(mean_over_tokens(tokens, padding), tokens, (clips * t, h, w), padding)

    def watch_time(self) -> None:
        """Give all convolutions and max-poolings zeros after the real frames; call it at the end of ``__init__``."""
        self._real = {}
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.MaxPool3d):
                module.register_forward_pre_hook(self._hide)
                module.register_forward_hook(self._follow)

    def _hide(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """Zeros after the real frames of [b, C, t, h, w], the smallest value after a ReLU."""
        (x,) = inputs
        if x.shape[2] not in self._real:
            return None
        return (x.masked_fill(is_padding(self._real[x.shape[2]], x.shape[2])[:, None, :, None, None], 0),)

    def _follow(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        """Note the number of real times of an output."""
        before, after = inputs[0].shape[2], output.shape[2]
        if before in self._real and before != after:
            kernel, stride, padding = (_along_time(getattr(module, name)) for name in ("kernel_size", "stride", "padding"))
            shown = (self._real[before] + 2 * padding - kernel).div(stride, rounding_mode="floor") + 1
            self._real[after] = shown.clamp(min=1)

    @abstractmethod
    def features(self, video: Tensor) -> Tensor:
        """The feature map [b, D, t, h, w] of normalised clips [b, 3, n, H, W]."""


def _along_time(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
