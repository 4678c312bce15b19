"""The entry point of the video plugin: hooks that return specs. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, ModalitySpec, TaskSpec, hookimpl
from selfsup_video.task_specs import SPECS

SELFSUP_API = 1

_BACKBONES = "selfsup_video.backbones"
_VIEWS = "selfsup_video.augmentations"
_FILES = (
    ".mp4 .m4v .mov .qt .mkv .mk3d .webm .avi .divx .mpg .mpeg .mpe .m2v .ts .mts .m2ts .m2t .vob .flv .f4v .wmv .asf .3gp "
    ".3g2 .ogv .ogm .gif .apng .mxf .dv .y4m .rm .rmvb .mjpeg .mjpg .nut .ivf .h264 .264 .h265 .265 .hevc .mj2 .wtv .npy"
)
"""Suffixes of what FFmpeg reads, and of clips as arrays."""
FRAME_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".tga", ".avif", ".jp2", ".ppm", ".pgm",
)  # fmt: skip
"""Suffixes of the files of a folder that are frames."""


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """Videos."""
    return [
        ModalitySpec(
            id="video",
            summary="Videos: files that FFmpeg reads, folders of frames, arrays; any size, length or rate.",
            target="selfsup_video.processor:VideoProcessor",
            columns={"video": "Video"},
            suffixes=tuple(_FILES.split()),
            segments=True,
            frame_suffixes=FRAME_SUFFIXES,
            backbone="conv3d-small",
            token_backbone="video-vit-small",
            views=f"{_VIEWS}:RECIPE",
            supervised_views=f"{_VIEWS}:SUPERVISED_RECIPE",
            corruption="selfsup_video.corruptions:RECIPE",
            resize="selfsup_images.size:resize_frames",
            raw_features="selfsup_video.features:frame_pixels",
            raw_title="frame pixels",
            mock_rows="selfsup_video.mock:mock_rows",
            noise_rows="selfsup_video.mock:NOISE_ROWS",
        )
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """Small networks for CPUs, and those of torchvision and timm."""

    def spec(id: str, target: str, summary: str, *, tokens: bool = False) -> BackboneSpec:
        return BackboneSpec(id=id, target=f"{_BACKBONES}.{target}", summary=summary, modality="video", tokens=tokens)

    return [
        spec("conv3d-small", "conv3d:SMALL", "Narrow R(2+1)D ResNet for CPUs; its stem depends on the frame size."),
        spec("single-frame", "conv3d:SINGLE_FRAME", "conv3d-small on the middle frame only: a baseline without motion."),
        spec("video-vit-small", "vit:SMALL", "Small vision transformer on tubelets, for any length and size.", tokens=True),
        spec("torchvision/*", "torchvision:RECIPE", "Any video model of torchvision: r2plus1d_18, s3d, swin3d_t, ..."),
        spec("timm-frames/*", "frames:RECIPE", "Any timm model on each frame, averaged over time."),
    ]  # fmt: skip


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; what the core composes is not among them."""
    return SPECS
