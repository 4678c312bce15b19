"""Benchmarks of vision: MNIST digits in minutes, sets of ``SELFSUP_DATA`` over night, CIFAR and its like on an accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, UNEQUAL, Setting, heads, one_optimizer

_DIGITS = Setting(
    modality="vision",
    suites=("quick",),
    prefix="mnist-parity",
    rows="4,000 MNIST digits (14x14; odd or even?)",
    dataset="mnist-parity",
    backbone="resnet-narrow",
    steps=900,
    overrides={
        **one_optimizer(lr=4e-3),
        **CURVE,
        # Two classes have 20 labels in all, so it matters much which they are.
        "evaluators.few-labels.draws": 20,
        "optimization.batch_size": 128,
        # A quarter of the pixels, and so a quarter of the time.
        "processor.image_size": 14,
        "processor.channels": 1,
        # A mirrored digit is another sign.
        "supervised.views.flip_p": 0.0,
        "scratch.lr": 4e-3,
    },
)
_RESNET: Mapping[str, Any] = {"backbone.width": 8}
_QUICK = _DIGITS.on("resnet-narrow", {**_RESNET, "views.flip_p": 0.0, "views.global_scale": (0.5, 1.0)})
QUICK: tuple[BenchmarkSpec, ...] = (
    _QUICK.line("simclr", {"objective.hidden_dim": 256, "objective.temperature": 0.5}),
    _QUICK.template("others"),
)
"""Without a network; the backbone and the heads are as small as minutes on a CPU ask for."""

_VIT: Mapping[str, Any] = {
    "backbone.patch_size": 2,
    "backbone.embed_dim": 64,
    "backbone.depth": 2,
    "backbone.heads": 2,
    "optimization.lr": 2e-3,
    "supervised.optimization.lr": 2e-3,
}
_MATRIX = replace(_DIGITS, suites=("matrix",))
MATRIX: tuple[BenchmarkSpec, ...] = (
    replace(_MATRIX, prefix="matrix-vision").template("all", {**_RESNET, **heads(256)}),
    replace(_MATRIX, prefix="matrix-vision-tokens", backbone="vit-tiny").template("all", {**_VIT, **heads(256)}),
)
"""Every objective on the quick suite's data, with its own views; those that need tokens on a small ViT."""

_HEADS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {"objective.hidden_dim": 512, "objective.temperature": 0.5},
    "dcl": {"objective.hidden_dim": 512, "objective.temperature": 0.5},
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
    "byol": {"objective.hidden_dim": 1024, "momentum.start": 0.98},
}


def _real(dataset: str, tasks: tuple[str, ...], steps: int, headline: str) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="vision",
        suites=("real",),
        prefix=f"real-{dataset}",
        rows=f"{dataset} (32x32)",
        dataset=dataset,
        backbone="resnet-narrow",
        headline=headline,
        steps=steps,
        overrides={
            **one_optimizer(lr=2e-3),
            "evaluators.few-labels.per_class": (10, 1, 5, 25, 100),
            "optimization.batch_size": 128,
            "processor.image_size": 32,
            "backbone.width": 16,
            "scratch.lr": 2e-3,
            "scratch.min_steps": 400,
        },
    )
    return [shared.line(task, _HEADS.get(task)) for task in tasks]


REAL: tuple[BenchmarkSpec, ...] = (
    *_real("cifar10", ("simclr", "dcl", "vicreg", "byol", "rotation"), 800, "few-labels.accuracy@10"),
    *_real("blood_cells", ("simclr", "dcl", "vicreg", "byol", "denoising-autoencoder"), 400, UNEQUAL),
)

_OWN = Setting(
    modality="vision",
    suites=("own",),
    prefix="own-vision",
    rows="the user's own pictures",
    backbone="resnet-narrow",
    overrides={
        **one_optimizer(lr=2e-3),
        "optimization.batch_size": 128,
        "processor.image_size": 32,
        "backbone.width": 16,
        "scratch.lr": 2e-3,
        "gpu.backbone": "timm/resnet18",
        "gpu.backbone.width": None,
        "gpu.processor.image_size": None,
        "gpu.optimization.batch_size": 256,
        "gpu.optimization.lr": 1e-3,
        "gpu.supervised.optimization.lr": 1e-3,
        "gpu.scratch.lr": 1e-3,
    },
)


def _own(task: str, **gpu: Any) -> BenchmarkSpec:
    return _OWN.line(task, {**_HEADS[task], **{f"gpu.objective.{key}": value for key, value in gpu.items()}})


OWN: tuple[BenchmarkSpec, ...] = (
    _own("simclr", hidden_dim=2048, temperature=0.2),
    _own("vicreg", hidden_dim=2048, output_dim=2048),
    _own("dcl", hidden_dim=2048, temperature=0.2),
    _own("byol", hidden_dim=2048),
)
"""Contrast with and without negatives: what learned most at small budgets. Pictures of 32 pixels on a CPU, whole on a GPU."""

STANDARD_TASKS = ("simclr", "mocov3", "byol", "vicreg", "barlow-twins", "dino", "rotation", "patch-position", "mae")


def _standard(dataset: str, task: str, epochs: int) -> BenchmarkSpec:
    resnet = "resnet18-cifar" if dataset.startswith("cifar") else "timm/resnet18"
    shared = Setting(
        modality="vision",
        suites=("standard",),
        prefix=dataset,
        rows=dataset,
        dataset=dataset,
        backbone="vit-tiny" if task == "mae" else resnet,
        evaluators=(*FEW_LABELS, "knn", "clustering", "geometry"),
        epochs=epochs,
        overrides={**CURVE, "optimization.batch_size": 256, "scratch.min_steps": 400},
    )
    return shared.line(task)


CASE_STUDIES: tuple[BenchmarkSpec, ...] = (
    BenchmarkSpec(
        id="case-patch-position-finetune",
        summary="Patch positions (3x3, ResNet-18, Adam 1e-3, 100 epochs), then fine-tuning on CIFAR-10 against from scratch.",
        task="vision/patch-position",
        dataset="cifar10",
        suites=("standard", "case-studies"),
        backbone="resnet18-cifar",
        evaluators=("finetune", "linear"),
        headline="finetune.accuracy",
        epochs=100,
        overrides={
            "optimization.optimizer": "adam",
            "optimization.lr": 1e-3,
            "optimization.weight_decay": 0.0,
            "optimization.schedule": "constant",
            "optimization.warmup_fraction": 0.0,
            "optimization.batch_size": 256,
        },
    ),
    BenchmarkSpec(
        id="case-kmeans-features",
        summary="k-means on pretrained CIFAR-10 features against k-means on raw pixels.",
        task="vision/simclr",
        dataset="cifar10",
        suites=("standard", "case-studies"),
        backbone="resnet18-cifar",
        evaluators=("clustering",),
        headline="clustering.accuracy",
        epochs=100,
        overrides={"optimization.batch_size": 256},
    ),
)
"""Two classic studies. From-scratch training is the row of the untrained network (all of its weights are fine-tuned, too)."""

STANDARD: tuple[BenchmarkSpec, ...] = (
    *(
        _standard(dataset, task, epochs)
        for dataset, epochs in (("cifar10", 100), ("cifar100", 100), ("stl10", 50), ("imagenette", 100))
        for task in STANDARD_TASKS
    ),
    *CASE_STUDIES,
)
"""For an accelerator: hours."""


_CIFAR = Setting(
    modality="vision",
    suites=("tasks",),
    prefix="tasks-cifar10",
    rows="cifar10",
    dataset="cifar10",
    backbone="resnet-narrow",
    steps=200,
    evaluators=("knn", "linear"),
    headline="knn.accuracy",
    overrides={**one_optimizer(lr=1e-3), "optimization.batch_size": 128},
)
_NARROW_RESNET = _CIFAR.on("resnet-narrow", {"backbone.width": 16})
_SMALL_VIT = _CIFAR.on("vit-tiny", {"backbone.embed_dim": 96, "backbone.depth": 4, "backbone.heads": 3})
TASKS: tuple[BenchmarkSpec, ...] = (
    *(_NARROW_RESNET.line(task) for task in ("rotation", "patch-position", "jigsaw", "colorization", "inpainting")),
    _NARROW_RESNET.template("all", heads(512)),
    replace(_SMALL_VIT, prefix="tasks-cifar10-tokens").template("all", heads(512)),
)
"""Every task at one budget that a CPU can do: how much does each learn, on its own network?"""

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*QUICK, *MATRIX, *REAL, *OWN, *STANDARD, *TASKS)
