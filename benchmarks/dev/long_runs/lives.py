"""The whole life of a run as commands, from its data to its benchmark, and what it leaves."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selfsup.testing.toy.sequences.rows import N_CLASSES, STEPS, id_rows

STEPS_OF_RUN = 12
_TIMED = frozenset(
    ("created", "updated", "began", "seconds", "samples_per_second", "data_wait", "peak_memory", "time", "measured", "commit")
)
"""Keys of values that differ between any two runs."""
_CHANGING = re.compile(r"(?<=default)-[0-9a-f]{16}|(?<=last-\d\d)-[0-9a-f]{8}")
"""In names: what ``datasets`` makes of the time of a file, and what tells folders of shards from each other."""
_PAGES = (".html", ".md", ".log", ".lock")
"""Files for people, which show times; and locks."""


@dataclass(frozen=True)
class Life:
    """Commands of ``selfsup`` in their order; each can be given again after it was interrupted."""

    name: str
    commands: Sequence[Sequence[str]]
    """Paths are relative to the folder of the life."""
    plugins: str
    """Of ``SELFSUP_PLUGINS``."""
    modules: Sequence[str] = ()
    """Imported once before all attempts."""


def _pretrain(task: str, data: str, *options: str) -> list[str]:
    given = ["pretrain", task, "--data", data, "--out", "run", "--resume", "--steps", str(STEPS_OF_RUN), "--batch-size", "16"]
    return [*given, "--precision", "32", "--set", "checkpoint_every=3", "--set", "log_every=2", *options]


_SMALL = ("--set", "objective.hidden_dim=16", "--set", "objective.output_dim=8", "--backbone", "sequence/conv")
_USES = (
    ["evaluate", "run", "--data", "labelled.jsonl", "--evaluators", "knn,linear"],
    ["evaluate", "run", "--data", "labelled.jsonl", "--evaluators", "knn", "--checkpoint", "best"],
    ["embed", "run", "--data", "labelled.jsonl", "--out", "embeddings.npy"],
    ["export", "run", "--format", "safetensors", "--out", "exported"],
)
_TORCH = (
    "selfsup.cli.pretrain",
    "selfsup.cli.evaluate",
    "selfsup.cli.embed",
    "selfsup.training.run.pretrain",
    "selfsup.data.store.prepare",
    "selfsup.evaluation.evaluate",
    "selfsup.evaluation.evaluators.linear",
    "selfsup.cli.finetune",
    "sklearn.metrics",
    "selfsup.artifacts.exporting",
    "pandas",
    "selfsup.data.sources.streams.load",
    "datasets.packaged_modules.json.json",
    "torch.distributed",
)

STORED = Life(
    "a run from a store",
    [
        _pretrain(
            "sequence/mocov3", "rows.jsonl", *_SMALL, "--val", "labelled.jsonl", "--max-bad-rows", "0.1",
            "--set", "probe_every=4", "--set", "accumulate=2", "--set", "ema=0.9",
        ),
        *_USES,
    ],
    "sequences",
    _TORCH,
)  # fmt: skip
BRIEF = Life("a run and its first evaluation", STORED.commands[:2], STORED.plugins, STORED.modules)
STREAMED = Life(
    "a run from a stream",
    [
        _pretrain(
            "sequence/simclr", "shards", *_SMALL, "--stream", "--val", "labelled.jsonl", "--max-bad-rows", "0.1",
            "--set", "probe_every=4", "--set", "streaming.workers=1", "--set", "streaming.buffer=32",
        ),
        *_USES,
    ],
    "sequences",
    _TORCH,
)  # fmt: skip
TABLE = Life(
    "a run from a table",
    [
        _pretrain("tabular/scarf", "table.csv", "--set", "probe_every=4", "--val", "table.csv"),
        ["evaluate", "run", "--data", "table.csv", "--evaluators", "knn"],
        ["embed", "run", "--data", "table.csv", "--out", "embeddings.parquet"],
        ["finetune", "run", "--data", "table.csv", "--out", "finetuned", "--set", "epochs=1", "--set", "min_steps=0"],
    ],
    "tabular",
    (*_TORCH, "selfsup_tabular"),
)
DEVICES = Life(
    "a run on two devices",
    [_pretrain("sequence/simclr", "rows.jsonl", *_SMALL, "--devices", "2", "--max-bad-rows", "0.1")],
    "sequences",
    _TORCH,
)
SHARDED = Life(
    "a sharded run on two devices",
    [_pretrain("sequence/simclr", "rows.jsonl", *_SMALL, "--devices", "2", "--strategy", "fsdp", "--max-bad-rows", "0.1")],
    "sequences",
    _TORCH,
)
BENCHMARK = Life(
    "a benchmark",
    [["benchmark", "--suite", "toy", "--seeds", "1", "--jobs", "1", "--device", "cpu", "--resume", "--out", "results"]],
    "bench,sequences,toy-suite",
    (),
)


def write_data(folder: Path) -> None:
    """Write the data of all lives: synthetic rows, some of them bad."""
    rows = id_rows(96, 0)
    bad: list[dict[str, Any]] = [{"sequence": None, "label": 0}, {"sequence": [], "label": 1}]
    unlabelled = [{"sequence": row["sequence"]} for row in (*rows[:40], bad[0], *rows[40:], bad[1])]
    _write_lines(folder / "rows.jsonl", unlabelled)
    _write_lines(folder / "labelled.jsonl", id_rows(48, 1))
    (folder / "shards").mkdir()
    for number in range(4):
        _write_lines(folder / "shards" / f"part-{number}.jsonl", unlabelled[number::4])
    draw = random.Random(0)
    lines = ["height,width,colour,label"]
    for number in range(96):
        label = number % N_CLASSES
        lines.append(f"{draw.gauss(label, 0.5):.4f},{draw.gauss(-label, 0.5):.4f},{'rgb'[STEPS[label] % 3]},{'abc'[label]}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def left_by(folder: Path) -> dict[str, Any]:
    """Each file of a life by its path, without what differs between any two runs: times, speeds and memory."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.startswith(("tmp/", "home/", "cache/logs/")):
            continue
        name = _CHANGING.sub("", name)
        while name in found:
            name += " again"
        found[name] = _content(path)
    return found


def _content(path: Path) -> Any:
    if path.suffix in _PAGES or path.name == "log.txt":  # each attempt at a cell appends to its log
        return ""
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        lines = [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
        # A cell that is tried again takes its store later.
        return sorted(lines, key=lambda line: str(line["run"])) if path.name == "uses.jsonl" else lines
    if path.suffix == ".pt":
        return _timeless(_plain(torch.load(path, weights_only=True)))
    if path.suffix == ".safetensors":  # its metadata are in any order
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        return json.loads(content[8:end]), content[end:]
    return path.read_bytes()


def _plain(value: Any) -> Any:
    """Nested lists and dictionaries with the bytes of tensors, which ``==`` compares."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _timeless(item) for key, item in value.items() if key not in _TIMED}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if isinstance(value, str):
        return _CHANGING.sub("", value)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def differences(first: Any, second: Any, place: str = "") -> list[str]:
    """Where two results of :func:`left_by` differ."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        only = [f"{place}{key} is missing in the {who}" for who, here, there in
                (("second", first, second), ("first", second, first)) for key in here.keys() - there.keys()]  # fmt: skip
        both = [key for key in first if key in second]
        return [*only, *(found for key in both for found in differences(first[key], second[key], f"{place}{key} "))]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for number, (one, other) in pairs for found in differences(one, other, f"{place}{number} ")]
    return [] if first == second else [f"{place}differs: {str(first)[:80]} and {str(second)[:80]}"]
