"""SimCLR on real images: against no training, and against the same recipe with lightly's parts."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from selfsup.cli import emit, json_option
from selfsup.config import Config
from selfsup_bench.statistics.estimates import Estimate, estimate

TEMPERATURE = 0.2
HIDDEN, OUTPUT = 512, 128
GOAL_OVER_RANDOM = 0.15
"""kNN accuracy that SimCLR should gain over the untrained network."""
GOAL_AGAINST_LIGHTLY = 0.01
"""Largest difference of the mean kNN accuracies."""


class Recipe(Config):
    """Everything that both sides share."""

    dataset: str = "cifar10"
    """Name of the data set, below SELFSUP_DATA or registered."""
    backbone: str = "resnet-narrow"
    """Id of the backbone."""
    width: int = 32
    """Channels of its first stage."""
    blocks: int = 1
    """Residual blocks of each stage."""
    steps: int = 1500
    """Optimizer steps."""
    batch: int = 256
    """Images of a step."""
    lr: float = 2e-3
    """Peak learning rate of AdamW, after a warm-up over a tenth of the steps, then along a cosine to 0."""
    weight_decay: float = 1e-4
    """Of all but biases and norms."""

    @property
    def backbone_options(self) -> dict[str, Any]:
        """As the registry takes them."""
        return {"width": self.width, "blocks": self.blocks}

    def overrides(self) -> dict[str, Any]:
        """For ``selfsup.pretrain``. lightly's CIFAR-10 settings: half the colour jitter, no blur."""
        return {
            **{f"backbone.{name}": value for name, value in self.backbone_options.items()},
            "objective.temperature": TEMPERATURE,
            "objective.hidden_dim": HIDDEN,
            "objective.output_dim": OUTPUT,
            "optimization.optimizer": "adamw",
            "optimization.lr": self.lr,
            "optimization.weight_decay": self.weight_decay,
            "optimization.warmup_fraction": 0.1,
            "optimization.batch_size": self.batch,
        }


def train_here(recipe: Recipe, seed: int, folder: Path, *, trained: bool = True) -> Any:
    """An encoder by ``selfsup.pretrain``; with ``trained=False`` as it is initialised."""
    import selfsup

    options = {f"backbone.{name}": value for name, value in recipe.backbone_options.items()}
    run = selfsup.pretrain(
        "vision/simclr" if trained else "vision/random-init",
        recipe.dataset,
        out=folder,
        backbone=recipe.backbone,
        seed=seed,
        steps=recipe.steps if trained else 0,
        probe_every=recipe.steps + 1,
        progress=False,
        overrides=recipe.overrides() if trained else options,
    )
    return run.encoder


@click.command()
@click.option("--dataset", default="cifar10", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=1500, show_default=True, help="Optimizer steps of each training.")
@click.option("--width", type=click.IntRange(4), default=32, show_default=True, help="Width of the narrow ResNet.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--without-lightly", is_flag=True, help="Compare with the untrained network only.")
@json_option
def simclr(dataset: str, steps: int, width: int, seeds: int, without_lightly: bool, as_json: bool) -> None:
    """SimCLR by kNN accuracy: against its own initialisation, and against lightly's parts in the same recipe.

    The exit status is 1 if SimCLR gains less than 15 points, or differs by more than 1 point from lightly.
    """
    recipe = Recipe(dataset=dataset, steps=steps, width=width)
    scores: dict[str, list[float]] = {"untrained": [], "selfsup": []}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            _measured(
                scores["untrained"], "untrained", seed, train_here(recipe, seed, Path(folder) / "a", trained=False), recipe
            )
            _measured(scores["selfsup"], "selfsup", seed, train_here(recipe, seed, Path(folder) / "b"), recipe)
        if not without_lightly:
            from peers.lightly_side import train_with_lightly

            _measured(scores.setdefault("lightly", []), "lightly", seed, train_with_lightly(recipe, seed), recipe)
    result = summarise(scores)
    document = {"recipe": recipe.model_dump(mode="json"), "knn_accuracy": scores, **result}
    emit(document, as_json=as_json, text=lambda: _show(scores, result))
    if not result["reached"]:
        sys.exit(1)


def _measured(into: list[float], name: str, seed: int, encoder: Any, recipe: Recipe) -> None:
    import selfsup
    from selfsup.runtime import resolve_precision

    began = time.perf_counter()
    precision = resolve_precision("auto", "cpu")  # neighbours are the same in bf16, and embedding 60,000 images is not
    record = selfsup.evaluate(encoder, recipe.dataset, evaluators=["knn"], precision=precision)[0]
    into.append(record.metrics["accuracy"])
    click.echo(f"{name}, seed {seed}: kNN {100 * into[-1]:.2f} % ({time.perf_counter() - began:.0f} s to evaluate)", err=True)


def summarise(scores: dict[str, list[float]]) -> dict[str, Any]:
    """Differences paired by seed, with intervals, and whether the goals are reached."""
    gain = estimate([a - b for a, b in zip(scores["selfsup"], scores["untrained"], strict=True)])
    result: dict[str, Any] = {"over_untrained": gain.mean, "over_untrained_interval": _bounds(gain)}
    reached = gain.mean >= GOAL_OVER_RANDOM
    if "lightly" in scores:
        difference = estimate([a - b for a, b in zip(scores["selfsup"], scores["lightly"], strict=True)])
        result |= {"over_lightly": difference.mean, "over_lightly_interval": _bounds(difference)}
        # To be better by more than a point is no fault; to be worse is.
        reached = reached and difference.mean >= -GOAL_AGAINST_LIGHTLY
    return {**result, "reached": reached}


def _bounds(value: Estimate) -> list[float] | None:
    return None if value.interval is None else [value.interval.low, value.interval.high]


def _show(scores: dict[str, list[float]], result: dict[str, Any]) -> None:
    click.echo("| encoder | kNN accuracy % (mean ± half of the 95 % interval) | seeds |\n| --- | --- | --- |")
    for name, values in scores.items():
        made = estimate(values)
        half = "" if made.interval is None else f" ± {100 * made.interval.half_width:.2f}"
        click.echo(f"| {name} | {100 * made.mean:.2f}{half} | {', '.join(f'{100 * v:.2f}' for v in values)} |")
    click.echo(f"\nover the untrained network: {100 * result['over_untrained']:+.2f} points (goal: +15)")
    if "over_lightly" in result:
        click.echo(f"over lightly: {100 * result['over_lightly']:+.2f} points (goal: not below -1)")
