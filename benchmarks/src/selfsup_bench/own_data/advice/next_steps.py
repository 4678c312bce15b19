"""What to do after a benchmark of own data, as commands to paste."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.artifacts import RunDirectory
from selfsup_bench.own_data.state import State
from selfsup_bench.records.record import write_json

CONFIG = "pretrain.json"
"""The config of the best task with more steps, in the folder of the benchmark."""
LONGER = 10
"""How many times as long."""


def write_longer(run: Path, out: Path, decided: State) -> None:
    """Write the config that pretrains as a run did, on all rows and for longer; rows are held out where tests need them.

    Args:
        run: folder of the run.
        out: folder of the benchmark.
        decided: how the data is read.
    """
    config = dict(RunDirectory.open(run).info()["config"])
    optimization = dict(config["optimization"])
    optimization["steps"] = LONGER * int(optimization["steps"])
    reading = decided.reading
    _, known, tested = decided.divided.division.fingerprints
    config |= {
        "data": reading.data,
        "label": None if reading.labelled else reading.label,
        "columns": dict(reading.columns),
        "table": dict(reading.table),
        "holdout": 0.2 if known == tested and not reading.labelled else 0.0,
        "accelerator": "auto",
        "optimization": optimization,
    }
    write_json(out / CONFIG, config)


def commands(decided: State, task: str, out: Path, encoder: Path, *, pretrains: bool) -> list[tuple[str, str]]:
    """(what it does, a command).

    Args:
        decided: how the data is read.
        task: id of the best task.
        out: folder of the benchmark.
        encoder: folder of the best encoder.
        pretrains: whether more pretraining is advised.
    """
    given = decided.given
    data, labelled = str(given["data"]), str(given.get("labelled") or given["data"])
    every = reading_flags({**given, "label": None} if given.get("labelled") else given, source=data, labelled=False)
    known = reading_flags(given, source=labelled, labelled=True)
    test = f" --test {shlex.quote(str(given['test']))}" if given.get("test") else ""
    place, run = shlex.quote(str(encoder)), f"runs/{task.replace('/', '-')}"
    found = [
        ("embed all rows", f"selfsup embed {place} {every} --out embeddings.parquet"),
        ("train a classifier with all labels, or a regression", f"selfsup finetune {place} {known}{test} --out model"),
    ]
    if not pretrains:
        return found
    longer = f"selfsup pretrain --config {shlex.quote(str(out / CONFIG))} --out {run}"
    return [
        (f"pretrain {LONGER} times as long on all rows", longer),
        ("measure what that gives", f"selfsup evaluate {run} {known}{test} --evaluators few-labels,linear"),
        *found,
    ]


def reading_flags(given: Mapping[str, Any], *, source: str, labelled: bool) -> str:
    """The options with which a command reads the data as the benchmark did.

    Args:
        given: what the user gave, by the names of the options.
        source: what ``--data`` names in the command.
        labelled: whether the command looks at labels.
    """
    parts = ["--data", source]
    if given.get("label"):
        parts += ["--label", given["label"]]
    if labelled and given.get("label_kind"):
        parts += ["--label-kind", given["label_kind"]]
    if labelled:
        for value in given.get("unlabelled", ()):
            parts += ["--unlabelled", value]
    for role, column in given.get("columns", {}).items():
        parts += ["--column", f"{role}={column}"]
    for key, value in given.get("table", {}).items():
        parts += ["--no-header"] if key == "header" else [f"--{key}", str(value)]
    return shlex.join(str(part) for part in parts)
