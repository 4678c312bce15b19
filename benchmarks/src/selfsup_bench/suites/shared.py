"""What the benchmarks of all modalities share.

In the suite ``own`` steps, seeds and evaluators follow from the user's data and time. Its overrides that begin with ``gpu.``
hold on an accelerator alone, in place of those without it (None drops one): there networks and inputs have their usual sizes.
``gpu.backbone`` is the id of another backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from selfsup.registry import BenchmarkSpec

FEW_LABELS = ("few-labels", "linear")
"""With few labels, and with all."""
UNEQUAL = "few-labels.balanced_accuracy@10"
"""The headline where classes are of very unequal size."""
CURVE = {"evaluators.few-labels.per_class": (10, 2, 5, 25, 50)}
"""Labels a class: the headline's, and those of the curve."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What benchmarks on one data set and one network have in common."""

    modality: str
    suites: tuple[str, ...]
    prefix: str
    """Of the benchmarks' ids, before the name of the task."""
    rows: str
    """The rows, for people: ``4,000 MNIST digits``."""
    dataset: str = ""
    backbone: str
    steps: int = 0
    epochs: int = 0
    evaluators: tuple[str, ...] = FEW_LABELS
    headline: str = "few-labels.accuracy@10"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()

    def line(self, task: str, options: Mapping[str, Any] | None = None) -> BenchmarkSpec:
        """The benchmark of a task, with options of its own."""
        return self._spec(f"{self.prefix}-{task}", task, options or {}, "")

    def template(self, objectives: Literal["all", "others"], options: Mapping[str, Any] | None = None) -> BenchmarkSpec:
        """A template of all objectives, or of those of other packages."""
        return self._spec(self.prefix, "*", options or {}, objectives)

    def on(self, backbone: str, options: Mapping[str, Any]) -> Setting:
        """The same on another network, with the options that it needs."""
        return replace(self, backbone=backbone, overrides={**self.overrides, **options})

    def lines(
        self,
        tasks: Mapping[str, Sequence[str]],
        networks: Mapping[str, Mapping[str, Any]],
        own: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[BenchmarkSpec]:
        """A benchmark for each task.

        Args:
            tasks: backbone to its tasks.
            networks: backbone to the options that it needs.
            own: task to options of its own.
        """
        return [
            self.on(backbone, networks.get(backbone, {})).line(task, (own or {}).get(task))
            for backbone, names in tasks.items()
            for task in names
        ]

    def _spec(self, id: str, task: str, options: Mapping[str, Any], objectives: Literal["", "all", "others"]) -> BenchmarkSpec:
        overrides = {**self.overrides, **options}
        budget = f", {self.epochs} epochs" if self.epochs else ""
        if self.steps:
            budget = f", {self.steps:,} steps of {overrides['optimization.batch_size']}"
        return BenchmarkSpec(
            id=id,
            summary=f"{task} on {self.rows}{budget}.",
            task=f"{self.modality}/{task}",
            dataset=self.dataset,
            suites=self.suites,
            objectives=objectives,
            backbone=self.backbone,
            evaluators=self.evaluators,
            headline=self.headline,
            steps=self.steps,
            epochs=self.epochs,
            overrides=overrides,
            references=self.references,
        )


def one_optimizer(*, lr: float) -> dict[str, Any]:
    """One optimizer for all tasks of a short budget and for the supervised reference: constants, schedule, weight decay.

    The papers' optimizers (LARS, ...) are for schedules hundreds of times as long; in so few steps one for all is fairer.
    Clipping of the gradient stays each task's own: it guards single networks (recurrent ones) and is no part of a schedule.

    Args:
        lr: its peak learning rate.
    """
    settings = {
        "optimizer": "adamw",
        "lr": lr,
        "schedule": "cosine",
        "warmup_fraction": 0.1,
        "final_lr_fraction": 0.0,
        "weight_decay": 1e-4,
        "weight_decay_end": None,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "bias_lr_scale": 1.0,
    }
    return {f"{whose}optimization.{key}": value for whose in ("", "supervised.") for key, value in settings.items()}


_NARROW = ("simclr", "dcl", "mocov2", "mocov3", "byol", "swav", "dino", "tico", "lejepa", "clip", "siglip", "correspondence")
_WIDE = ("barlow-twins", "vicreg", "simsiam")
"""Those whose output is as wide as the hidden layers: their papers' are for networks of 2,048 dimensions."""
_OWN: dict[str, dict[str, Any]] = {
    # The paper's temperature for small images (Chen et al. 2020, arXiv:2002.05709, appendix B.9).
    "simclr": {"objective.temperature": 0.5},
    # A tenth of the paper's prototypes and a thousandth of its dimensions are many for ten classes.
    "swav": {"objective.n_prototypes": 100},
    "dino": {"objective.output_dim": 1024},
    "vicregl": {"objective.hidden_dim": 256, "objective.output_dim": 256, "objective.token_dim": 128},
}


def heads(width: int) -> dict[str, Any]:
    """Options of a template: heads for networks of about a hundred dimensions, objective by objective.

    Args:
        width: of hidden layers, and of the output where the paper's is as wide.
    """
    given: dict[str, dict[str, Any]] = {name: {"objective.hidden_dim": width} for name in (*_NARROW, *_WIDE)}
    for name in _WIDE:
        given[name]["objective.output_dim"] = width
    for name, options in _OWN.items():
        given[name] = {**given.get(name, {}), **options}
    return {f"{name}.{key}": value for name, own in given.items() for key, value in own.items()}


def of_views(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the views as overrides of a template: for objectives that compare views alone, since others have none."""
    return {f"{objective}.{key}": value for objective in (*_NARROW, *_WIDE, "cola") for key, value in options.items()}
