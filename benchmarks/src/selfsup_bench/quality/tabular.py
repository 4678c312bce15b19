"""``python -m selfsup_bench.quality tabular``: every table task against no training, the columns and boosted trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from selfsup_bench.quality.grid import GridCell
from selfsup_bench.quality.options import chosen_references, chosen_tasks, grid_options, run_and_show, split_labels


@dataclass(frozen=True)
class Table:
    """A data set of the grid."""

    label: str = ""
    """Its label column; empty: it is found."""
    metric: str = "auroc"
    """What is shown: with two classes of unequal size accuracy says little."""
    labels: tuple[str, ...] = ("1%", "5%", "25%", "all")
    """SCARF's and, for the digits, few."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Config keys for every method."""
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Method to config keys of its own."""


TABLES: Mapping[str, Table] = {
    "adult": Table("income"),
    # How long the call took is known only after it, as its outcome is.
    "bank_marketing": Table("y", overrides={"processor.drop": "duration"}),
    "credit_default": Table("default"),
    "letter": Table("letter", metric="accuracy"),
    "online_shoppers": Table("Revenue"),
    "telco_churn": Table("Churn"),
    "digits-table": Table(
        metric="accuracy",
        labels=("20", "50", "100", "all"),
        # With six of ten pixels replaced, as SCARF's default has it, little is left to tell one digit from another.
        own={"scarf": {"views.rate": 0.4, "objective.temperature": 0.5}},
    ),
}
TASKS = (
    "scarf",
    "vime",
    "subtab",
    "saint",
    "denoising-autoencoder",
    "masked-cells",
    "jepa",
    "vicreg",
    "barlow-twins",
    "byol",
    "simsiam",
)
REFERENCES = ("random-init", "scratch", "raw", "boosting")
BACKBONE = "mlp"

SHARED: Mapping[str, Any] = {"optimization.batch_size": 128}
OF_BACKBONE: Mapping[str, Mapping[str, Any]] = {
    "ft-transformer": {"backbone.dim": 64, "backbone.depth": 2, "backbone.heads": 4},
}
"""Networks that a CPU trains in seconds."""


@click.command()
@grid_options(seeds=5, steps=1500)
@click.option(
    "--noise",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of wrong training labels.",
)
def tabular(
    datasets: tuple[str, ...],
    methods: tuple[str, ...],
    labels: str,
    steps: int,
    seeds: int,
    finetune: bool,
    jobs: int,
    out: Path,
    as_json: bool,
    noise: float,
) -> None:
    """Scores with few and with all labels: untrained, from scratch, columns, boosted trees, and every task at one budget."""
    from selfsup.registry import registry

    found = registry()
    tasks = chosen_tasks(found, "tabular", methods, usual=TASKS, references=REFERENCES)
    spec = found.get("modality", "tabular")
    backbones = {task.id.partition("/")[2]: task.backbone or spec.backbone for task in tasks}
    kinds = sorted({BACKBONE, *backbones.values()})
    references = chosen_references(methods, REFERENCES)
    pairs = [*backbones.items(), *(("random-init", backbone) for backbone in kinds)]
    pairs += [(name, BACKBONE if name == "scratch" else "") for name in references if name != "random-init"]
    chosen = {name: TABLES.get(name, Table(metric="accuracy")) for name in datasets or TABLES}
    cells = [
        GridCell(
            modality="tabular",
            dataset=name,
            label=table.label,
            method=method,
            backbone=backbone,
            seed=seed,
            labels=split_labels(labels, table.labels),
            label_noise=noise,
            repeats=1 if finetune or method == "scratch" else 3,
            steps=steps,
            finetune_epochs=10,
            finetune=finetune and method in backbones,
            overrides=tuple(
                {**SHARED, **OF_BACKBONE.get(backbone, {}), **table.overrides, **table.own.get(method, {})}.items()
            ),
        )
        for name, table in chosen.items()
        for seed in range(seeds)
        for method, backbone in pairs
    ]
    run_and_show(cells, {name: table.metric for name, table in chosen.items()}, out, jobs=jobs, as_json=as_json)
