"""Export of an image tower and a text tower as transformers' ``VisionTextDualEncoderModel``, with equal outputs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.data import Processor
from selfsup.errors import ArtifactError
from selfsup.registry import registry
from selfsup.runtime import evaluation_mode

FORMAT = "transformers"
"""Name of the format in ``selfsup export``."""
_NEEDED = "Export to transformers needs an image tower that timm can build and a text tower of transformers"
_NEARLY_LINEAR = 2.0**-12
"""BERT's pooler is tanh(W h). With W = this times the identity it is linear up to float32 rounding (tanh x = x - x³/3 ...); the
projection after it is scaled up again."""
_TOLERANCE = 1e-4
"""Largest difference between entries of unit vectors that float32 rounding explains."""


@dataclass(frozen=True)
class Tower:
    """One tower to export."""

    backbone: Backbone
    projection: Tensor
    """[J, D], from its pooled embedding to the joint space."""
    processor: Processor


def write_dual_encoder(towers: Mapping[str, Tower], folder: Path) -> None:
    """Write both towers, the tokenizer and the image processor's settings into an empty folder.

    ``VisionTextDualEncoderModel.from_pretrained`` and ``VisionTextDualEncoderProcessor.from_pretrained`` read it. The image
    network becomes a ``TimmWrapperModel``, so loading it needs timm. ``logit_scale`` is the library's initial value, because
    the learned scale belongs to the objective. Outputs are compared before anything is written.

    Args:
        towers: by part name: one image tower, one text tower.
        folder: exists and is empty.

    Raises:
        ArtifactError: transformers or timm is not installed, or transformers cannot represent the towers.
    """
    vision, text = _sides(towers)
    library = _library()
    logging = library.utils.logging
    wrapped, model = _rebuilt(vision.backbone, text.backbone)
    described = {"vision_config": wrapped.config.to_dict(), "text_config": model.config.to_dict()}
    config = library.VisionTextDualEncoderConfig(**described, projection_dim=len(vision.projection))
    whole = library.VisionTextDualEncoderModel(config=config, vision_model=wrapped, text_model=model).eval()
    with torch.no_grad():
        whole.visual_projection.weight.copy_(vision.projection)
        whole.text_projection.weight.copy_(text.projection / _NEARLY_LINEAR)
    tokenizer = cast(Any, text.processor).pretrained_tokenizer(causal=False)
    _check(whole, tokenizer, vision, text)
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        whole.save_pretrained(folder)
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_image_settings(vision), indent=2) + "\n")


def _library() -> Any:
    """Import ``transformers``, which only this export needs.

    Raises:
        ArtifactError: it is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ArtifactError(f"Export to transformers needs it: pip install transformers timm ({error})") from error


def _sides(towers: Mapping[str, Tower]) -> tuple[Tower, Tower]:
    """The image tower and the text tower."""
    if len(towers) != 2:
        raise ArtifactError(f"{_NEEDED}; this encoder has the parts {', '.join(towers)}. Export one with --part NAME.")
    kinds = {"timm": "export_state", FORMAT: "pretrained_tokenizer"}
    found: dict[str, Tower] = {}
    for tower in towers.values():
        formats = getattr(tower.backbone, "export_formats", ())
        for kind in kinds:
            if kind in formats and (kind == "timm" or hasattr(tower.processor, kinds[kind])):
                found[kind] = tower
    if set(found) != set(kinds):
        have = ", ".join(f"{name} ({type(tower.backbone).__name__})" for name, tower in towers.items())
        raise ArtifactError(f"{_NEEDED}; this encoder has {have}. Export one part with --part NAME.")
    return found["timm"], found[FORMAT]


def _rebuilt(vision: Backbone, text: Backbone) -> tuple[Any, Any]:
    """Both networks as models of transformers.

    Raises:
        ArtifactError: transformers cannot represent one of them; the message gives all reasons, since each costs a run.
    """
    made: list[Any] = []
    reasons: list[str] = []
    for rebuild, backbone in ((_wrap_timm, vision), (_with_pooler, text)):
        try:
            made.append(rebuild(backbone))
        except ArtifactError as error:
            reasons.append(str(error))
    if reasons:
        raise ArtifactError(" ".join(reasons))
    return made[0], made[1]


def _wrap_timm(backbone: Backbone) -> Any:
    """The image network as transformers' wrapper of timm."""
    library, source = _library(), cast(Any, backbone)
    described = source.export_metadata("timm")
    config = library.TimmWrapperConfig(
        architecture=described["architecture"],
        model_args=json.loads(described["kwargs"]),
        do_pooling=True,
        hidden_size=backbone.pooled_dim,
    )
    try:
        wrapped = library.TimmWrapperModel(config)
        wrapped.timm_model.load_state_dict(source.export_state("timm"))
    except ImportError as error:
        raise ArtifactError(f"Export of an image tower to transformers needs timm: pip install timm ({error})") from error
    except RuntimeError as error:
        raise ArtifactError(
            "transformers builds image networks with timm, and timm cannot build this one: it is "
            f"{described['architecture']} with another stem. Pretrain with the backbone vit-tiny or timm/NAME, or export the "
            "tower alone with --part and --format timm."
        ) from error
    return wrapped


def _with_pooler(backbone: Backbone) -> Any:
    """The text network with a pooler that returns the class token's output, which the dual encoder uses."""
    source = cast(Any, backbone)
    if source.pooling != "cls":
        raise ArtifactError(
            f"transformers pools text networks by the class token, but this tower uses {source.pooling!r}. Pretrain with the "
            "option pooling=cls for that tower, or export it alone with --part and --format transformers."
        )
    model = _library().AutoModel.from_config(source.model.config)
    dense = getattr(getattr(model, "pooler", None), "dense", None)
    if not isinstance(dense, nn.Linear):
        raise ArtifactError(
            f"transformers' {type(model).__name__} has no pooler, which the dual encoder needs. Use text-encoder-small or "
            "transformers/bert as the text tower, or export it alone with --part and --format transformers."
        )
    model.load_state_dict(source.model.state_dict(), strict=False)
    with torch.no_grad():
        dense.weight.copy_(torch.eye(len(dense.weight)) * _NEARLY_LINEAR)
        dense.bias.zero_()
    return model


def _image_settings(vision: Tower) -> dict[str, Any]:
    """Preprocessing of images, for transformers' CLIPImageProcessor."""
    processor, described = cast(Any, vision.processor), cast(Any, vision.backbone).export_metadata("timm")
    size = int(processor.info()["image_size"])
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": int(getattr(processor, "kept_side", size))},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": json.loads(described["mean"]),
        "image_std": json.loads(described["std"]),
    }


def _check(whole: Any, tokenizer: Any, vision: Tower, text: Tower) -> None:
    """Compare the embeddings of a few synthetic rows before and after the export.

    Raises:
        ArtifactError: they differ.
    """
    described = cast(Any, vision.backbone).export_metadata("timm")
    mean, std = (torch.tensor(json.loads(described[key])).view(1, -1, 1, 1) for key in ("mean", "std"))
    size, channels = (int(vision.processor.info()[key]) for key in ("image_size", "channels"))
    images = torch.rand((2, channels, size, size), generator=torch.Generator().manual_seed(0))
    made = registry().modality_objects(text.processor.modality).mock_rows
    rows = made(4, 0) if made is not None else []
    texts = [row["text"] for row in rows]
    with torch.inference_mode():
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        theirs = whole(pixel_values=(images - mean) / std, **inputs)
        for name, tower, batch, found in (
            ("image", vision, {"image": images}, theirs.image_embeds),
            ("text", text, text.processor(rows), theirs.text_embeds),
        ):
            ours = F.normalize(_pooled(tower.backbone, batch) @ tower.projection.T.cpu(), dim=1)
            if not torch.allclose(ours, found, atol=_TOLERANCE, rtol=0):
                worst = float((ours - found).abs().max())
                raise ArtifactError(
                    f"The {name} tower has other outputs in transformers (difference {worst:.2g}), so nothing is written. "
                    "Export one part with --part NAME."
                )


def _pooled(backbone: Backbone, batch: Mapping[str, Tensor]) -> Tensor:
    """Pooled embeddings in evaluation mode, on the CPU."""
    device = next(backbone.parameters()).device
    with evaluation_mode(backbone):
        pooled: Tensor = backbone({key: value.to(device) for key, value in batch.items()}).pooled
    return pooled.float().cpu()
