"""The entry point of the vision plugin: hooks that return specs. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, DatasetSpec, ModalitySpec, TaskSpec, hookimpl
from selfsup_vision.task_specs import SPECS

SELFSUP_API = 1

_BACKBONE = "resnet-narrow"
_VIEWS = "selfsup_vision.augmentations.views"
_SMALL = "selfsup_vision.backbones.small"
_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".tga", ".avif",
    ".heic", ".heif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".npy",
)  # fmt: skip


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """Images."""
    return [
        ModalitySpec(
            id="vision",
            summary="Images: photos, scans, drawings, measurements; any size, number of channels, file or mode.",
            target="selfsup_vision.processor:ImageProcessor",
            columns={"image": "Image"},
            suffixes=_SUFFIXES,
            backbone=_BACKBONE,
            token_backbone="vit-tiny",
            views=f"{_VIEWS}:RECIPE",
            single_views=f"{_VIEWS}:SINGLE_RECIPE",
            supervised_views=f"{_VIEWS}:SUPERVISED_RECIPE",
            corruption="selfsup_vision.corruptions.noise:RECIPE",
            resize="selfsup_images.size:resize_frames",
            raw_features="selfsup_vision.features:pixels",
            raw_title="pixels",
            mock_rows="selfsup_vision.mock:mock_rows",
            noise_rows="selfsup_vision.mock:NOISE_ROWS",
        )
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """timm's models, and small ones for small images."""

    def spec(id: str, target: str, summary: str, *, tokens: bool = False) -> BackboneSpec:
        return BackboneSpec(id=id, target=target, summary=summary, modality="vision", tokens=tokens)

    return [
        spec("timm/*", "selfsup_vision.backbones.timm:RECIPE", "Any timm model, at any size that it supports.", tokens=True),
        spec("resnet18-cifar", f"{_SMALL}:CIFAR_RESNET", "ResNet-18 with a 3x3 stem, without max-pooling, for small images."),
        spec("resnet-narrow", f"{_SMALL}:NARROW_RESNET", "Narrow ResNet-10 for CPUs; its stem depends on the image size."),
        spec("vit-tiny", f"{_SMALL}:TINY_VIT", "Small vision transformer; its patches depend on the image size.", tokens=True),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks that differ from what the core composes (dcl, tico, clip, ...)."""
    return list(SPECS)


@hookimpl
def selfsup_datasets() -> list[DatasetSpec]:
    """Data sets of the Hugging Face hub; fetched on use."""

    def spec(
        id: str, summary: str, licence: str, homepage: str, *, label: str = "label", splits: tuple[str, ...] = ("train", "test")
    ) -> DatasetSpec:
        return DatasetSpec(
            id=id,
            target=f"selfsup_vision.datasets:{id}",
            summary=summary,
            modality="vision",
            licence=licence,
            homepage=homepage,
            label=label,
            splits=splits,
        )

    cifar = "https://www.cs.toronto.edu/~kriz/cifar.html"
    none_stated = "none stated; for research"
    return [
        spec("cifar10", "60,000 images of 32x32 pixels in 10 classes.", none_stated, cifar),
        spec("cifar100", "60,000 images of 32x32 pixels in 100 classes.", none_stated, cifar, label="fine_label"),
        spec("stl10", "13,000 labelled and 100,000 unlabelled images of 96x96 pixels in 10 classes.",
             "none stated; images of ImageNet, for non-commercial research", "https://cs.stanford.edu/~acoates/stl10/",
             splits=("train", "test", "unlabeled")),
        spec("imagenette", "13,394 photos of ten easy ImageNet classes, shorter side 160.",
             "Apache-2.0 (the selection); images of ImageNet, for non-commercial research",
             "https://github.com/fastai/imagenette"),
    ]  # fmt: skip
