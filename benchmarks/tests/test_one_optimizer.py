"""One optimizer for all is one: no task keeps a part of its paper's schedule."""

from __future__ import annotations

from typing import Any

import pytest

from selfsup.registry import registry
from selfsup.training.run.resolve import resolve_config
from selfsup_bench.suites import BENCHMARKS
from selfsup_bench.suites.shared import one_optimizer

OWN = {"clip", "clip_per_parameter", "batch_size"}
"""What each task keeps."""
WANTED = {
    "optimizer": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup_fraction": 0.1, "warmup_epochs": None,
    "final_lr_fraction": 0.0, "weight_decay": 1e-4, "weight_decay_end": None, "betas": (0.9, 0.999), "eps": 1e-8,
    "bias_lr_scale": 1.0, "ema": 0.0, "accumulate": 1,
}  # fmt: skip
"""Written out, so that a default that moves is seen. Fields that AdamW does not read are left out."""
READ_BY_OTHERS = {"base_lr", "momentum", "trust_coefficient", "adapt_biases"}


def optimization(task: str, overrides: dict[str, Any]) -> dict[str, Any]:
    config = resolve_config({"task": task, "data": "rows", **overrides}).optimization.model_dump()
    return {key: value for key, value in config.items() if key not in OWN | READ_BY_OTHERS}


@pytest.mark.parametrize("modality", ["vision", "text", "tabular", "audio", "video"])
def test_every_task_of_a_modality_has_the_same_optimizer(modality: str) -> None:
    pytest.importorskip(f"selfsup_{modality}", reason="needs its plugin")
    tasks = [
        task.id for task in registry().tasks.values() if task.modality == modality and task.id != f"{modality}/random-init"
    ]
    assert len(tasks) > 10
    one = {key: value for key, value in one_optimizer(lr=1e-3).items() if not key.startswith("supervised.")}
    found = {task: optimization(task, one) for task in tasks}
    for task, settings in found.items():
        assert {key: settings[key] for key in WANTED} == WANTED, task
        assert settings == found[tasks[0]], task


@pytest.mark.parametrize("suite", ["quick", "real", "matrix", "tasks"])
def test_a_suite_names_the_whole_optimizer(suite: str) -> None:
    whole = set(one_optimizer(lr=1.0))
    specs = [spec for spec in BENCHMARKS if suite in spec.suites]
    assert len({spec.task.partition("/")[0] for spec in specs}) == 6
    for spec in specs:
        assert whole <= set(spec.overrides), spec.id


def test_lines_of_a_data_set_differ_in_the_rate_alone_and_only_where_the_suite_says_so() -> None:
    rates = {"text/word2vec": 2e-2, "video/vjepa": 2e-4}
    for spec in (spec for spec in BENCHMARKS if "tasks" in spec.suites):
        given = {key: value for key, value in spec.overrides.items() if key.startswith("optimization.")}
        lr = rates.get(spec.task, 2e-3 if spec.dataset == "moving-digits" else 1e-3)
        wanted = {**one_optimizer(lr=lr), "optimization.batch_size": given["optimization.batch_size"]}
        assert given == {key: value for key, value in wanted.items() if key.startswith("optimization.")}, spec.id
