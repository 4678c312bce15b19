"""Pretraining as the papers have it, in full size for a GPU and in small for a CPU, and who it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from speed.pretraining import peer_loops
from speed.synthetic_data import as_dataset, images, write_sounds, write_videos

_LIGHTLY = "lightly in a loop of its documentation, bf16, batch"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One method on one network, ours and a peer's."""

    name: str
    what: str
    task: str
    backbone: str
    batch: int
    steps: int
    """Of our side, in 10 to 20 s on a GPU of 2023; the peer's loop has its own number."""
    data: Callable[[Path], Any]
    """Makes the rows, in a folder if they are files."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    peer: Callable[..., float] | None = None
    """Samples a second of the other side; a function of :mod:`speed.pretraining.peer_loops`."""
    peer_options: Mapping[str, Any] = field(default_factory=dict)
    against: str = ""
    goal: float = 0.0
    """Of the ratio, or of our samples a second where there is no peer."""
    unit: str = "samples/s"
    scale: int = 1
    """Units in a sample: tokens of a block."""
    on_device: bool = False
    """Whether data of a real size lie on the GPU; else batches are read by threads, also where the synthetic ones would fit."""


def vision(small: bool) -> list[Workload]:
    """SimCLR on small and on large images, and DINO."""
    simclr = {"optimization.optimizer": "sgd", "optimization.lr": 0.06}
    n32, size, batch = (64, 32, 16) if small else (16_384, 224, 256)
    n224 = 24 if small else 1024
    large = images_of(n224, size)
    resnet = "resnet-narrow" if small else "timm/resnet50"
    vit = {"backbone.embed_dim": 48, "backbone.depth": 2} if small else {}
    cifar = partial(
        Workload, task="vision/simclr", backbone="resnet-narrow" if small else "resnet18-cifar", data=images_of(n32, 32),
        overrides=simclr, peer=peer_loops.lightly_simclr, against=_LIGHTLY, unit="images/s",
        on_device=True,
    )  # fmt: skip
    documented = {"n": n32, "size": 32, "network": "resnet18", "batch": batch}
    return [
        cifar(name="simclr-resnet18", what="SimCLR, ResNet-18 with a 3x3 stem, 32x32", batch=16 if small else 1024,
              steps=8 if small else 400, peer_options=documented, goal=3.5),
        cifar(name="simclr-resnet18-256", what="SimCLR, ResNet-18 with a 3x3 stem, 32x32", batch=batch,
              steps=8 if small else 1000, peer_options=documented, goal=3.5),
        cifar(name="simclr-resnet18-256-read", what="SimCLR, ResNet-18 with a 3x3 stem, 32x32", batch=batch,
              steps=8 if small else 1000, peer_options=documented, goal=3.5, on_device=False),
        Workload(
            name="simclr-resnet50", what=f"SimCLR, ResNet-50, {size}x{size}", task="vision/simclr", backbone=resnet,
            batch=8 if small else 256, steps=8 if small else 80, data=large, overrides=simclr,
            peer=peer_loops.lightly_simclr, against=_LIGHTLY, unit="images/s",
            peer_options={"n": n224, "size": size, "network": "resnet18" if small else "resnet50",
                          "batch": 8 if small else 256},
            goal=2.5,
        ),
        Workload(
            name="dino-vit-small", what="DINO, ViT-S/16, 2 views of 224 and 8 of 96 pixels", task="vision/dino",
            backbone="vit-tiny" if small else "timm/vit_small_patch16_224", batch=8 if small else 128,
            steps=8 if small else 80, data=large, goal=1700.0, unit="images/s",
            overrides={**vit, "views.n_local": 8, "processor.image_size": size,
                       **({"objective.output_dim": 64} if small else {})},
        ),
    ]  # fmt: skip


def text(small: bool) -> list[Workload]:
    """MLM with BERT-base on packed blocks."""
    sizes = {"backbone.hidden_size": 16, "backbone.layers": 1, "backbone.heads": 2} if small else {}
    length, batch = (14, 4) if small else (126, 256)
    return [
        Workload(
            name="mlm-bert-base", what=f"MLM, BERT-base, blocks of {length + 2} tokens", task="text/mlm",
            backbone="transformers/bert", batch=batch, steps=8 if small else 200, data=lambda folder: "pydoc-topics",
            overrides={**sizes, "processor.max_length": length, "processor.vocab_size": 512 if small else 30_522},
            peer=peer_loops.trainer_mlm, peer_options={"length": length, "batch": batch, "small": small},
            against="transformers' Trainer, bf16, fused AdamW, the better of 0 and 8 loader workers, batch",
            goal=1.5, unit="tokens/s", scale=length,
        )
    ]  # fmt: skip


def audio(small: bool) -> list[Workload]:
    """wav2vec 2.0."""
    n, seconds, batch = (8, 1, 2) if small else (192, 10, 32)
    shape = {"hidden_size": 16, "layers": 1, "heads": 2} if small else {}
    small_stem = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    architecture = {"backbone.architecture": small_stem} if small else {}
    return [
        Workload(
            name="wav2vec2-base", what=f"wav2vec 2.0 BASE, {seconds} s at 16 kHz", task="audio/wav2vec2",
            backbone="transformers-audio/wav2vec2", batch=batch, steps=6 if small else 60,
            data=lambda folder: str(sounds(folder / "sounds", n, seconds)),
            overrides={**{f"backbone.{key}": value for key, value in shape.items()}, **architecture,
                       "processor.clip_seconds": float(seconds), "processor.sample_rate": 16_000},
            peer=peer_loops.transformers_wav2vec2, peer_options={"seconds": seconds, "batch": batch, "small": small},
            against="transformers' own pretraining loop, bf16, masks drawn by loader workers, batch", goal=1.5, unit="clips/s",
        )
    ]  # fmt: skip


def video(small: bool) -> list[Workload]:
    """VideoMAE."""
    n, size, batch = (6, 32, 2) if small else (128, 224, 32)
    wide = {"embed_dim": 32, "depth": 1, "heads": 2, "patch_size": 16} if small else {"embed_dim": 384, "depth": 12, "heads": 6}
    return [
        Workload(
            name="videomae-vit-small", what=f"VideoMAE, ViT-S, 16 frames of {size}x{size}", task="video/videomae",
            backbone="video-vit-small", batch=batch, steps=6 if small else 80,
            data=lambda folder: str(videos(folder / "videos", n, size)),
            overrides={**{f"backbone.{key}": value for key, value in wide.items()}, "processor.image_size": size},
            peer=peer_loops.transformers_videomae, peer_options={"size": size, "batch": batch, "small": small},
            against="transformers' VideoMAEForPreTraining in a plain loop, bf16, frames in memory, batch", goal=1.5,
            unit="clips/s",
        )
    ]  # fmt: skip


def multimodal(small: bool) -> list[Workload]:
    """CLIP with the towers of ViT-B/32."""
    n, size, batch = (16, 32, 4) if small else (1536, 224, 512)
    text_tower = {"hidden_size": 16, "layers": 1, "heads": 2} if small else {"hidden_size": 512, "layers": 12, "heads": 8}
    vision_tower = "vit-tiny" if small else "timm/vit_base_patch32_224"
    vision_options = {"embed_dim": 24, "depth": 1, "heads": 2} if small else {"pool": "timm"}
    towers = {
        "vision": {"backbone": vision_tower, "options": vision_options},
        "text": {"backbone": "transformers/gpt2", "options": text_tower},
    }
    return [
        Workload(
            name="clip-vit-b-32", what=f"CLIP, ViT-B/32 and a text transformer of 512, {size}x{size}, 77 tokens",
            task="multimodal/clip", backbone="towers", batch=batch, steps=6 if small else 60,
            data=lambda folder: pairs(n, size),
            overrides={"backbone.towers": towers, "backbone.joint_dim": 16 if small else 512,
                       "processor.options": {"vision": {"image_size": size}, "text": {"max_length": 14 if small else 75}}},
            peer=peer_loops.open_clip_pairs, peer_options={"n": n, "size": size, "batch": batch, "small": small},
            against="open_clip's loop, bf16, loader workers, batch", goal=1.2, unit="pairs/s",
        )
    ]  # fmt: skip


WORKLOADS: Mapping[str, Callable[[bool], list[Workload]]] = {
    "vision": vision,
    "text": text,
    "audio": audio,
    "video": video,
    "multimodal": multimodal,
}
"""Modality to its workloads; the argument says whether they are to be small."""


def captions(n: int) -> list[str]:
    """Texts of about 90 words, all different."""
    return [" ".join(f"word{(7 * i + 13 * j) % 997}" for j in range(90)) for i in range(n)]


def pairs(n: int, size: int) -> Any:
    """Pictures with captions."""
    return as_dataset(images(n, size)).add_column("text", captions(n))


def images_of(n: int, size: int) -> Callable[[Path], Any]:
    """What makes ``n`` images."""
    return lambda folder: as_dataset(images(n, size))


def sounds(folder: Path, n: int, seconds: int) -> Path:
    """Recordings at 16 kHz."""
    write_sounds(folder, n, seconds=seconds, rate=16_000)
    return folder


def videos(folder: Path, n: int, size: int) -> Path:
    """Videos of 40 frames."""
    write_videos(folder, n, size=size, frames=40)
    return folder
