"""Benchmarks of vision: MNIST digits in minutes, sets of ``SELFSUP_DATA`` over night, CIFAR and its like on an accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, UNEQUAL, heads, one_optimizer

_QUICK: Mapping[str, Any] = {
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
}
_RESNET: Mapping[str, Any] = {"backbone.width": 8}
_CROPS: Mapping[str, Any] = {"views.flip_p": 0.0, "views.global_scale": (0.5, 1.0)}
_SIMCLR: Mapping[str, Any] = {"objective.hidden_dim": 256, "objective.temperature": 0.5}
_STEPS = 900


def _quick(task: str, options: Mapping[str, Any]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"mnist-parity-{task}",
        summary=f"{task} on 4,000 MNIST digits (14x14), {_STEPS} steps of {_QUICK['optimization.batch_size']}; odd or even?",
        task=f"vision/{task}",
        dataset="mnist-parity",
        suites=("quick",),
        backbone="resnet-narrow",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_QUICK, **_RESNET, **_CROPS, **options},
    )


def _template(id: str, objectives: str, suite: str, backbone: str, options: Mapping[str, Any]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=id,
        summary=f"* on 4,000 MNIST digits (14x14), {_STEPS} steps of {_QUICK['optimization.batch_size']}; odd or even?",
        task="vision/*",
        dataset="mnist-parity",
        suites=(suite,),
        objectives="all" if objectives == "all" else "others",
        backbone=backbone,
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_QUICK, **options},
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("simclr", _SIMCLR),
    _template("mnist-parity", "others", "quick", "resnet-narrow", {**_RESNET, **_CROPS}),
)
"""Four minutes of a CPU core, without a network. The network and the heads are as small as that asks for."""

_VIT: Mapping[str, Any] = {
    "backbone.patch_size": 2,
    "backbone.embed_dim": 64,
    "backbone.depth": 2,
    "backbone.heads": 2,
    "optimization.lr": 2e-3,
    "supervised.optimization.lr": 2e-3,
}
MATRIX: tuple[BenchmarkSpec, ...] = (
    _template("mnist-parity-cnn", "all", "matrix", "resnet-narrow", {**_RESNET, **heads(256)}),
    _template("mnist-parity-vit", "all", "matrix", "vit-tiny", {**_VIT, **heads(256)}),
)
"""Every objective on the quick suite's data, with its own views: those that need tokens on a small ViT."""

_REAL: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    "evaluators.few-labels.per_class": (10, 1, 5, 25, 100),
    "optimization.batch_size": 128,
    "processor.image_size": 32,
    "backbone.width": 16,
    "scratch.lr": 2e-3,
    "scratch.min_steps": 400,
}
_HEADS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {"objective.hidden_dim": 512, "objective.temperature": 0.5},
    "dcl": {"objective.hidden_dim": 512, "objective.temperature": 0.5},
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
    "byol": {"objective.hidden_dim": 1024, "momentum.start": 0.98},
    "lejepa": {"objective.hidden_dim": 512},
}


def _real(dataset: str, task: str, steps: int, headline: str) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"real-{dataset}-{task}",
        summary=f"{task} on {dataset} (32x32), {steps} steps of {_REAL['optimization.batch_size']}.",
        task=f"vision/{task}",
        dataset=dataset,
        suites=("real",),
        backbone="resnet-narrow",
        evaluators=FEW_LABELS,
        headline=headline,
        steps=steps,
        overrides={**_REAL, **_HEADS.get(task, {})},
    )


REAL: tuple[BenchmarkSpec, ...] = (
    *(_real("cifar10", task, 800, "few-labels.accuracy@10") for task in ("simclr", "dcl", "vicreg", "byol", "rotation")),
    *(_real("blood_cells", task, 400, UNEQUAL) for task in ("simclr", "dcl", "vicreg", "byol", "denoising-autoencoder")),
)
"""About two hours and a half of a CPU core."""

_OWN: Mapping[str, Any] = {
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
}


def _own(task: str, **gpu: Any) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"own-vision-{task}",
        summary=f"{task} on the user's own pictures.",
        task=f"vision/{task}",
        suites=("own",),
        backbone="resnet-narrow",
        overrides={**_OWN, **_HEADS.get(task, {}), **{f"gpu.objective.{key}": value for key, value in gpu.items()}},
    )


OWN: tuple[BenchmarkSpec, ...] = (
    _own("simclr", hidden_dim=2048, temperature=0.2),
    _own("vicreg", hidden_dim=2048, output_dim=2048),
    _own("dcl", hidden_dim=2048, temperature=0.2),
    _own("byol", hidden_dim=2048),
)
"""Contrast with and without negatives: what learned most at small budgets. Pictures of 32 pixels on a CPU, whole on a GPU."""

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
        evaluators=(*FEW_LABELS, "knn", "clustering", "geometry"),
        epochs=epochs,
        overrides={**CURVE, "optimization.batch_size": 256, "scratch.min_steps": 400},
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

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*QUICK, *MATRIX, *REAL, *OWN, *STANDARD)
