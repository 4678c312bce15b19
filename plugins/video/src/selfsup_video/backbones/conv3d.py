"""A small (2+1)-D ResNet for CPUs, and the same network on a single frame."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import BackboneRecipe, Encoded
from selfsup.config import Config
from selfsup.types import Batch, Info
from selfsup_video.backbones.base import ConvBackbone


class SmallConvConfig(Config):
    """Options of ``conv3d-small`` and ``single-frame``."""

    width: int = Field(32, ge=4, le=512)
    """Channels of the first stage, doubled by each that follows; 64 in R(2+1)D-18."""
    stages: int = Field(4, ge=1, le=5)
    """Stages; each but the first halves height and width; 4 in R(2+1)D-18."""
    blocks: int = Field(1, ge=1, le=16)
    """Residual blocks in each stage; 2 in R(2+1)D-18."""


class SmallConv(ConvBackbone):
    """A narrow R(2+1)D (Tran et al. 2018, arXiv:1711.11248): every convolution is one in space, then one in time.

    The stem's stride in space follows the image size: 1 up to 24 pixels, 2 up to 48, else 4. Time is halved by the third and
    the fourth stage. Unlike in the paper, the convolution in space has no more channels than the one in time.
    """

    def __init__(self, config: SmallConvConfig, info: Info) -> None:
        super().__init__(info)
        size = int(info["image_size"])
        stride = 1 if size <= 24 else 2 if size <= 48 else 4
        width = config.width
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (1, 2 * stride + 1, 2 * stride + 1), (1, stride, stride), (0, stride, stride), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        for stage in range(config.stages):
            wide = config.width * 2**stage
            for number in range(config.blocks):
                first = number == 0
                blocks.append(Residual(width, wide, 2 if first and stage > 0 else 1, 2 if first and stage > 1 else 1))
                width = wide
        self.stages = nn.Sequential(*blocks)
        self.embed_dim = width
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.watch_time()

    def features(self, video: Tensor) -> Tensor:
        """[b, D, t, h, w]."""
        out: Tensor = self.stages(self.stem(video.contiguous()))
        return out


class Residual(nn.Module):
    """A residual block: a convolution in space, then one in time."""

    def __init__(self, before: int, after: int, stride: int, time_stride: int) -> None:
        super().__init__()
        self.space = nn.Conv3d(before, after, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.norm1 = nn.BatchNorm3d(after)
        self.time = nn.Conv3d(after, after, (3, 1, 1), (time_stride, 1, 1), (1, 0, 0), bias=False)
        self.norm2 = nn.BatchNorm3d(after)
        strides = (time_stride, stride, stride)
        changes = before != after or strides != (1, 1, 1)
        self.carry = (
            nn.Sequential(nn.Conv3d(before, after, 1, strides, bias=False), nn.BatchNorm3d(after)) if changes else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[b, before, t, h, w] to [b, after, ...]."""
        mixed = self.norm2(self.time(F.relu(self.norm1(self.space(x)))))
        return F.relu(mixed + self.carry(x))


class SingleFrame(SmallConv):
    """``conv3d-small`` that sees the middle frame of the middle clip only.

    Weights, widths and depth are the same, so that the difference in accuracy is due to motion.
    """

    def forward(self, batch: Batch) -> Encoded:
        """Encode the middle frame."""
        return super().forward({"video": self.middle_frame(batch)})


SMALL = BackboneRecipe(config=SmallConvConfig, build=SmallConv)
"""``conv3d-small``."""
SINGLE_FRAME = BackboneRecipe(config=SmallConvConfig, build=SingleFrame)
"""``single-frame``."""
