"""The tables of a grid: scores by labels, and differences from the untrained network paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfsup.evaluation.maths.metrics import HEADLINES
from selfsup_bench.quality.grid_cell import RECALL, REFERENCES, GridCell, Scores
from selfsup_bench.statistics.estimates import Estimate, direction, estimate

REGRESSION = ("r2", "rmse", "mae")
"""Metrics of labels that are numbers, for which the linear model is a ridge regression."""
NAMES = {
    "random-init": "random init",
    "scratch": "scratch (all weights)",
    "raw": "raw features + logistic regression",
    "boosting": "raw features + boosted trees",
    "tf-idf": "TF-IDF + logistic regression",
    "raw-mfcc": "MFCC statistics + logistic regression",
}


@dataclass(frozen=True)
class GridRow:
    """A method on one data set."""

    method: str
    backbone: str
    scores: Mapping[str, Estimate]
    """Setting of the labels to the metric, over the seeds."""
    gains: Mapping[str, Estimate]
    """Setting to the difference from the untrained network of the same backbone, paired by seed; of tasks only."""


@dataclass(frozen=True)
class GridTable:
    """All methods on one data set."""

    dataset: str
    metric: str
    labels: tuple[str, ...]
    rows: tuple[GridRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "dataset": self.dataset,
            "metric": self.metric,
            "rows": [
                {
                    "method": row.method,
                    "backbone": row.backbone,
                    "scores": {setting: _plain(value) for setting, value in row.scores.items()},
                    "over_random_init": {setting: _plain(value) for setting, value in row.gains.items()},
                }
                for row in self.rows
            ],
        }


def _plain(value: Estimate) -> dict[str, Any]:
    bounds = None if value.interval is None else [value.interval.low, value.interval.high]
    return {"mean": value.mean, "interval": bounds, "values": list(value.values)}


def tables(found: Mapping[GridCell, Scores], metrics: Mapping[str, str]) -> list[GridTable]:
    """One table a data set, references first, then tasks by their mean.

    Args:
        found: scores by cell; a method that lacks a seed which another one has is left out of its table.
        metrics: data set to the metric shown; empty: the headline of the labels' kind.
    """
    by_dataset: dict[str, dict[tuple[str, str], dict[int, Scores]]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for cell, scores in found.items():
        by_dataset.setdefault(cell.dataset, {}).setdefault((cell.method, cell.backbone), {})[cell.seed] = scores
        labels[cell.dataset] = cell.labels
    return [
        _table(dataset, metrics[dataset] or _headline(methods), labels[dataset], methods)
        for dataset, methods in by_dataset.items()
    ]


def _headline(methods: Mapping[tuple[str, str], Mapping[int, Scores]]) -> str:
    """The metric that stands for labels of the kind that the scores are of."""
    scores = next(iter(next(iter(next(iter(methods.values())).values())).values()))
    return next(name for name in HEADLINES.values() if name in scores)


def recalls(found: Mapping[GridCell, Scores]) -> dict[GridCell, Scores]:
    """Retrieval in the form of a grid: R@1, R@5, ... in the place of the settings of the labels.

    Of the setting with the most labels (the last), and of the cells that were measured by retrieval; those whose weights are
    trained with the labels are not.
    """
    made: dict[GridCell, Scores] = {}
    for cell, scores in found.items():
        last = scores[cell.labels[-1]]
        numbers = sorted(int(name.removeprefix(RECALL)) for name in last if name.startswith(RECALL))
        at = {f"R@{k}": {"recall": last[f"{RECALL}{k}"]} for k in numbers}
        if at:
            made[cell.model_copy(update={"labels": tuple(at)})] = at
    return made


def _table(
    dataset: str, metric: str, labels: tuple[str, ...], methods: Mapping[tuple[str, str], Mapping[int, Scores]]
) -> GridTable:
    seeds = sorted({seed for of_seed in methods.values() for seed in of_seed})
    rows: list[GridRow] = []
    for (method, backbone), of_seed in methods.items():
        if sorted(of_seed) != seeds:
            continue
        values = {setting: [of_seed[seed][setting][metric] for seed in seeds] for setting in labels}
        untrained = methods.get(("random-init", backbone), {})
        gains: dict[str, Estimate] = {}
        if method not in REFERENCES and sorted(untrained) == seeds:
            gains = {
                setting: estimate(
                    [mine - untrained[seed][setting][metric] for mine, seed in zip(values[setting], seeds, strict=True)]
                )
                for setting in labels
            }
        rows.append(GridRow(method, backbone, {setting: estimate(value) for setting, value in values.items()}, gains))
    sign = direction(metric)
    rows.sort(key=lambda row: (row.method not in REFERENCES, -sign * sum(value.mean for value in row.scores.values())))
    return GridTable(dataset, metric, labels, tuple(rows))


def markdown(table: GridTable) -> str:
    """A table as Markdown: mean ± half of the 95 % interval, and in brackets what pretraining adds.

    In per cent, but for errors in the unit of the labels.
    """
    per_cent = direction(table.metric) > 0
    lines = [
        f"{table.dataset}, {table.metric.replace('_', ' ')}{' %' * per_cent}{' by labels' * (table.metric != 'recall')}:",
        "",
        "| method | backbone | " + " | ".join(table.labels) + " |",
        "|" + " --- |" * (2 + len(table.labels)),
    ]
    for row in table.rows:
        name = f"*{NAMES[row.method]}*" if row.method in NAMES else row.method
        if table.metric in REGRESSION:
            name = name.replace("logistic", "ridge")
        cells = [_cell(row.scores[setting], row.gains.get(setting), table.metric) for setting in table.labels]
        lines.append("| " + " | ".join([name, row.backbone or "–", *cells]) + " |")
    return "\n".join(lines)


def _cell(score: Estimate, gain: Estimate | None, metric: str) -> str:
    text = _number(score, metric)
    if gain is None:
        return text
    bold = "**" if surely_above(gain, metric) else ""
    return f"{text} ({bold}{_number(gain, metric, sign=True)}{bold})"


def surely_above(gain: Estimate, metric: str) -> bool:
    """Whether the whole interval of a difference is on the better side of 0."""
    if gain.interval is None:
        return False
    return gain.interval.low > 0 if direction(metric) > 0 else gain.interval.high < 0


def _number(value: Estimate, metric: str, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if direction(metric) > 0:
        mean = f"{100 * value.mean:{plus}.1f}"
        return mean if value.interval is None else f"{mean} ± {100 * value.interval.half_width:.1f}"
    mean = f"{value.mean:{plus}.4g}"
    return mean if value.interval is None else f"{mean} ± {value.interval.half_width:.2g}"


LEGEND = (
    "± is half of the 95 % interval over seeds (Student's t below ten). In brackets: task − random init of the same backbone, "
    "paired by seed; bold where the whole interval is above 0 (below it, where less is better)."
)


def surely_better(all_tables: Sequence[GridTable]) -> dict[str, dict[str, int]]:
    """For each task: on how many data sets it is surely above random init, at any number of labels and at every one."""
    counts: dict[str, dict[str, int]] = {}
    for table in all_tables:
        for row in table.rows:
            if not row.gains:
                continue
            above = [surely_above(gain, table.metric) for gain in row.gains.values()]
            count = counts.setdefault(row.method, {"tables": 0, "somewhere": 0, "everywhere": 0})
            count["tables"] += 1
            count["somewhere"] += any(above)
            count["everywhere"] += all(above)
    return counts
