"""The tables of a grid: scores by labels, and differences from the untrained network paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfsup_bench.quality.grid_cell import RECALL, REFERENCES, GridCell, Scores
from selfsup_bench.statistics import Estimate, estimate

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
        metrics: data set to the metric shown.
    """
    by_dataset: dict[str, dict[tuple[str, str], dict[int, Scores]]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for cell, scores in found.items():
        by_dataset.setdefault(cell.dataset, {}).setdefault((cell.method, cell.backbone), {})[cell.seed] = scores
        labels[cell.dataset] = cell.labels
    return [_table(dataset, metrics[dataset], labels[dataset], methods) for dataset, methods in by_dataset.items()]


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
    rows.sort(key=lambda row: (row.method not in REFERENCES, -sum(value.mean for value in row.scores.values())))
    return GridTable(dataset, metric, labels, tuple(rows))


def markdown(table: GridTable) -> str:
    """A table as Markdown, in per cent: mean ± half of the 95 % interval, and in brackets what pretraining adds."""
    lines = [
        f"{table.dataset}, {table.metric.replace('_', ' ')} %{' by labels' * (table.metric != 'recall')}:",
        "",
        "| method | backbone | " + " | ".join(table.labels) + " |",
        "|" + " --- |" * (2 + len(table.labels)),
    ]
    for row in table.rows:
        name = f"*{NAMES[row.method]}*" if row.method in NAMES else row.method
        cells = [_cell(row.scores[setting], row.gains.get(setting)) for setting in table.labels]
        lines.append("| " + " | ".join([name, row.backbone or "–", *cells]) + " |")
    return "\n".join(lines)


def _cell(score: Estimate, gain: Estimate | None) -> str:
    text = _number(score)
    if gain is None:
        return text
    sure = gain.interval is not None and gain.interval.low > 0
    return f"{text} ({'**' if sure else ''}{_number(gain, sign=True)}{'**' if sure else ''})"


def _number(value: Estimate, *, sign: bool = False) -> str:
    mean = f"{100 * value.mean:{'+' if sign else ''}.1f}"
    return mean if value.interval is None else f"{mean} ± {100 * value.interval.half_width:.1f}"


LEGEND = (
    "± is half of the 95 % interval over seeds (Student's t below ten). In brackets: task − random init of the same backbone, "
    "paired by seed; bold where the whole interval is above 0."
)


def surely_better(all_tables: Sequence[GridTable]) -> dict[str, dict[str, int]]:
    """For each task: on how many data sets it is surely above random init, at any number of labels and at every one."""
    counts: dict[str, dict[str, int]] = {}
    for table in all_tables:
        for row in table.rows:
            if not row.gains:
                continue
            above = [gain.interval is not None and gain.interval.low > 0 for gain in row.gains.values()]
            count = counts.setdefault(row.method, {"tables": 0, "somewhere": 0, "everywhere": 0})
            count["tables"] += 1
            count["somewhere"] += any(above)
            count["everywhere"] += all(above)
    return counts
