"""Quality on real images: SimCLR against no training and against lightly, and all vision tasks at one budget."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from selfsup.cli.output import emit, json_option
from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.statistics.estimates import Estimate, estimate
from selfsup_bench.suites.shared import one_optimizer

GOAL_OVER_RANDOM = 0.15
"""kNN accuracy that SimCLR shall gain over the untrained network."""
GOAL_AGAINST_LIGHTLY = 0.01
"""Largest difference of the mean kNN accuracies."""


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
    from peers.recipe import Recipe, train_here

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


def _measured(into: list[float], name: str, seed: int, encoder: Any, recipe: Any) -> None:
    import selfsup
    from selfsup.runtime.precision import resolve_precision

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


@click.command()
@click.option("--dataset", default="cifar10", show_default=True)
@click.option("--task", "chosen", multiple=True, metavar="NAME", help="Only this task; repeatable. [default: all]")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="Optimizer steps of every task.")
@click.option("--batch", type=click.IntRange(2), default=128, show_default=True, help="Images of a step.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for records and report; goes on where it ended."
)
@json_option
def tasks(dataset: str, chosen: tuple[str, ...], steps: int, batch: int, seeds: int, out: Path, as_json: bool) -> None:
    """Every vision task at one budget: the same steps, batch and optimizer, and one backbone (a ViT for token tasks)."""
    from selfsup.registry import registry
    from selfsup_bench.executors.local import LocalExecutor
    from selfsup_bench.leaderboard.tables import interval_note, markdown
    from selfsup_bench.planning.make_plan import make_plan
    from selfsup_bench.runner import run

    found = registry()
    wanted = [found.get("task", f"vision/{name}") for name in chosen] or found.tasks.values()
    specs = equal_budget(wanted, dataset=dataset, steps=steps, batch=batch)
    planned = make_plan(specs, suite="equal-budget", seeds=range(seeds), registry=found, device="cpu", threads=1)
    board = run(planned, out, make_executor=lambda start: LocalExecutor(on_start=start), resume=True, device="cpu")

    def show() -> None:
        for table in board.tables:
            click.echo(markdown(table))
        click.echo(f"\n{interval_note(board)}")
        for cell, error in board.failures:
            click.echo(f"failed: {cell}: {error}", err=True)

    emit(board.as_dict(), as_json=as_json, text=show)
    if board.failures:
        sys.exit(1)


_HEAD = 512
"""Width of every joint-embedding head, inside, and at its end where the paper's is wider: those are for networks of 2,048."""
_WIDE = ("barlow-twins", "vicreg", "vicregl", "simsiam", "dino")
_ONE_LAYER = ("cola",)
"""Heads of one layer have no hidden width; COLA's output has 512 numbers in the paper."""
_RESNET = {"backbone.width": 16}
_VIT = {"backbone.embed_dim": 96, "backbone.depth": 4, "backbone.heads": 3}


def equal_budget(registered: Any, *, dataset: str, steps: int, batch: int) -> list[BenchmarkSpec]:
    """A benchmark for every task of vision that needs no teacher, all with one optimizer and heads of one size."""
    shared = {**one_optimizer(lr=1e-3), "optimization.batch_size": batch}

    def spec(task: Any) -> BenchmarkSpec:
        name = task.id.partition("/")[2]
        heads = {"objective.hidden_dim": _HEAD} if task.family == "joint-embedding" and name not in _ONE_LAYER else {}
        if name in _WIDE:
            heads["objective.output_dim"] = _HEAD
        return BenchmarkSpec(
            id=f"equal-{name}",
            summary=f"{task.id} at the one budget.",
            task=task.id,
            dataset=dataset,
            suites=("equal-budget",),
            backbone="vit-tiny" if task.needs_tokens else "resnet-narrow",
            evaluators=("knn", "linear"),
            headline="knn.accuracy",
            steps=steps,
            overrides={**shared, **(_VIT if task.needs_tokens else _RESNET), **heads},
        )

    own = [task for task in registered if task.modality == "vision" and task.family != "reference"]
    return [spec(task) for task in own if not task.needs_teacher]
