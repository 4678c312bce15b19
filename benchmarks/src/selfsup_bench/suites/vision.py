"""Benchmarks of vision: MNIST digits in minutes, CIFAR and its like on an accelerator, and two classic studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import EVALUATORS, one_optimizer

_QUICK: Mapping[str, Any] = {
    **one_optimizer(lr=4e-3),
    # A mirrored digit is another sign.
    "supervised.views.flip_p": 0.0,
}
_RESNET: Mapping[str, Any] = {"optimization.batch_size": 64, "backbone.width": 8}
_VIT: Mapping[str, Any] = {
    "optimization.batch_size": 256,
    "backbone.patch_size": 7,
    "backbone.embed_dim": 64,
    "backbone.depth": 2,
    "backbone.heads": 2,
}
# Sixteen patches hold less that can be left out than the 196 of the paper's images.
_MAE: Mapping[str, Any] = {
    "task.decoder_depth": 1,
    "task.decoder_dim": 64,
    "task.mask_ratio": 0.5,
    "views.flip_p": 0.0,
    "optimization.lr": 2e-3,
}
_VIEWS: Mapping[str, Any] = {"views.flip_p": 0.0, "objective.hidden_dim": 256}


def _quick(task: str, backbone: str, steps: int, options: Mapping[str, Any]) -> BenchmarkSpec:
    batch = options["optimization.batch_size"]
    return BenchmarkSpec(
        id=f"mnist-5k-{task}",
        summary=f"{task} on 4,000 MNIST digits, {steps} steps of {batch}.",
        task=f"vision/{task}",
        dataset="mnist-5k",
        suites=("quick",),
        backbone=backbone,
        evaluators=EVALUATORS,
        headline="knn.accuracy",
        steps=steps,
        overrides={**_QUICK, **options},
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("simclr", "resnet-narrow", 150, {**_RESNET, **_VIEWS}),
    _quick("byol", "resnet-narrow", 150, {**_RESNET, **_VIEWS, "objective.hidden_dim": 1024, "momentum.start": 0.9}),
    _quick("vicreg", "resnet-narrow", 150, {**_RESNET, **_VIEWS, "objective.output_dim": 256}),
    _quick("rotation", "resnet-narrow", 150, {**_RESNET, "views.flip_p": 0.0}),
    _quick("patch-position", "resnet-narrow", 150, _RESNET),
    _quick("mae", "vit-tiny", 150, {**_VIT, **_MAE}),
)
"""Minutes on two CPU cores, without a network. Networks and heads are as small as that asks for."""

STANDARD_TASKS = ("simclr", "mocov3", "byol", "vicreg", "barlow-twins", "dino", "rotation", "patch-position", "mae")


def _standard(dataset: str, task: str, epochs: int) -> BenchmarkSpec:
    vit = task == "mae"
    return BenchmarkSpec(
        id=f"{dataset}-{task}",
        summary=f"{task} on {dataset}, {epochs} epochs.",
        task=f"vision/{task}",
        dataset=dataset,
        suites=("standard",),
        backbone="vit-tiny" if vit else "resnet18-cifar" if dataset.startswith("cifar") else "timm/resnet18",
        evaluators=(*EVALUATORS, "clustering", "geometry"),
        headline="knn.accuracy",
        epochs=epochs,
        overrides={"optimization.batch_size": 256},
    )


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

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*QUICK, *STANDARD)
