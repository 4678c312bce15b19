"""One optimizer for all is one: no task keeps a part of its paper's schedule."""

from __future__ import annotations

from typing import Any

import pytest
from selfsup_bench.quality import audio, text, video
from selfsup_bench.quality.cells import Chosen, Grid, cells_of
from selfsup_bench.quality.measure import FINETUNE_PREFIX

from selfsup.registry import registry
from selfsup.training.run.resolve import resolve_config
from selfsup_bench.suites import BENCHMARKS
from selfsup_bench.suites.shared import adamw, one_optimizer

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
    found = {task: optimization(task, adamw(lr=1e-3)) for task in tasks}
    for task, settings in found.items():
        assert {key: settings[key] for key in WANTED} == WANTED, task
        assert settings == found[tasks[0]], task


@pytest.mark.parametrize("grid", [text.GRID, audio.GRID, video.GRID], ids=lambda grid: grid.modality)
def test_cells_of_a_grid_differ_only_where_the_grid_says_so(grid: Grid) -> None:
    pytest.importorskip(f"selfsup_{grid.modality}", reason="needs its plugin")
    seen: dict[str, dict[str, Any]] = {}
    for cell in cells_of(grid, Chosen(steps=5, seeds=1), registry()):
        if cell.trained:
            given = {key: value for key, value in cell.overrides if not key.startswith(FINETUNE_PREFIX)}
            own = {
                key.partition(".")[2] for key in grid.data[cell.dataset].own.get(cell.method, {}) if key.startswith("optimiz")
            }
            settings = optimization(f"{cell.modality}/{cell.method}", {**given, "backbone": cell.backbone})
            first = seen.setdefault(cell.dataset, settings) if not own else seen[cell.dataset]
            assert {key for key in first if first[key] != settings[key]} == own, cell.method


def test_the_quick_suite_names_the_whole_optimizer() -> None:
    whole = set(one_optimizer(lr=1.0))
    quick = [spec for spec in BENCHMARKS if "quick" in spec.suites]
    assert len({spec.task.partition("/")[0] for spec in quick}) == 6
    for spec in quick:
        assert whole <= set(spec.overrides), spec.id
