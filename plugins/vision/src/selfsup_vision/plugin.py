"""The entry point of the vision plugin: hooks that return specs. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import hookimpl
from selfsup.registry.specs import BackboneSpec, DatasetSpec, Family, ModalitySpec, TaskSpec

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
            single_views="selfsup_vision.augmentations.single:SINGLE_RECIPE",
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
        spec("timm/*", "selfsup_vision.backbones.timm:RECIPE", "Any model of timm, at any image size it allows.", tokens=True),
        spec("resnet18-cifar", f"{_SMALL}:CIFAR_RESNET", "ResNet-18 with a 3x3 stem and no max-pooling, for small images."),
        spec("resnet-narrow", f"{_SMALL}:NARROW_RESNET", "A narrow ResNet-10 for CPUs; its stem follows the image size."),
        spec("vit-tiny", f"{_SMALL}:TINY_VIT", "A small vision transformer; its patches follow the image size.", tokens=True),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; what the core composes (dcl, tico) is not among them."""

    def spec(
        name: str,
        family: Family,
        summary: str,
        paper: str,
        *,
        objective: str = "",
        backbone: str = _BACKBONE,
        tokens: bool = False,
    ) -> TaskSpec:
        constant = name.upper().replace("-", "_")
        return TaskSpec(
            id=f"vision/{name}",
            target=f"selfsup_vision.tasks:{constant}",
            summary=summary,
            paper=paper,
            modality="vision",
            family=family,
            objective=objective,
            backbone=backbone,
            needs_tokens=tokens,
        )

    def joint(name: str, summary: str, paper: str, backbone: str = _BACKBONE) -> TaskSpec:
        return spec(name, "joint-embedding", summary, paper, objective=name, backbone=backbone)

    def masked(name: str, family: Family, summary: str, paper: str) -> TaskSpec:
        return spec(name, family, summary, paper, objective=name, backbone="vit-tiny", tokens=True)

    return [
        spec("rotation", "transformation", "By which of four right angles was the image turned?",
             "Gidaris et al. 2018, arXiv:1803.07728"),
        spec("patch-position", "transformation", "Where did each of the shuffled 3x3 patches lie? (x, y) by squared error.",
             "after Doersch et al. 2015, arXiv:1505.05192"),
        spec("jigsaw", "transformation", "In which of a set of orders were the tiles laid?",
             "Noroozi & Favaro 2016, arXiv:1603.09246"),
        spec("colorization", "reconstruction", "From lightness to colour, as cells of the ab plane, rare ones weighted up.",
             "Zhang et al. 2016, arXiv:1603.08511"),
        joint("simclr", "Two random views of an image attract each other and repel all others of the batch.",
              "Chen et al. 2020, arXiv:2002.05709"),
        joint("mocov2", "A view finds its other among a queue of former ones from a momentum network.",
              "Chen et al. 2020, arXiv:2003.04297"),
        joint("mocov3", "Contrast with a momentum network within the batch, for vision transformers.",
              "Chen et al. 2021, arXiv:2104.02057", backbone="vit-tiny"),
        joint("byol", "Predict a momentum network's projection of the other view; unlike views, no negatives.",
              "Grill et al. 2020, arXiv:2006.07733"),
        joint("simsiam", "Predict the other view's projection, through which no gradient flows.",
              "Chen & He 2020, arXiv:2011.10566"),
        joint("barlow-twins", "Make the cross-correlation of two unlike views the identity.",
              "Zbontar et al. 2021, arXiv:2103.03230"),
        joint("vicreg", "Views close, variance up, covariance down.", "Bardes et al. 2021, arXiv:2105.04906"),
        joint("vicregl", "VICReg on whole images and on places matched by feature and position.",
              "Bardes et al. 2022, arXiv:2210.01571"),
        joint("swav", "Predict one view's cluster from the others; two global and six local views.",
              "Caron et al. 2020, arXiv:2006.09882"),
        joint("dino", "Match a sharpened momentum teacher from global and local views.",
              "Caron et al. 2021, arXiv:2104.14294", backbone="vit-tiny"),
        joint("lejepa", "Views close, and embeddings an isotropic Gaussian; global and local views, no teacher.",
              "Balestriero & LeCun 2025, arXiv:2511.08544"),
        spec("denoising-autoencoder", "reconstruction", "Give back the image under noise.", "Vincent et al. 2008, ICML",
             objective="denoising-autoencoder"),
        spec("inpainting", "reconstruction", "Fill holes from what is around them, by squared error.",
             "Pathak et al. 2016, arXiv:1604.07379"),
        masked("mae", "masked-modeling", "Encode a quarter of the patches, predict the pixels of the rest.",
               "He et al. 2021, arXiv:2111.06377"),
        masked("simmim", "masked-modeling", "Predict the pixels under mask tokens with a linear head.",
               "Xie et al. 2021, arXiv:2111.09886"),
        masked("ijepa", "latent-prediction", "Predict a teacher's representation of blocks from a context.",
               "Assran et al. 2023, arXiv:2301.08243"),
        masked("data2vec", "latent-prediction", "Predict a teacher's averaged layers at the masked patches.",
               "Baevski et al. 2022, arXiv:2202.03555"),
    ]  # fmt: skip


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
