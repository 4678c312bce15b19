"""Every cell that a quality command would train has options that its task and its backbone know."""

from __future__ import annotations

import pytest

from selfsup.registry import registry
from selfsup.training.run.resolve import resolve_config
from selfsup_bench.quality import audio, tabular, text, video
from selfsup_bench.quality.cells import Chosen, Grid, cells_of
from selfsup_bench.quality.measure import FINETUNE_PREFIX

GRIDS = [text.GRID, tabular.GRID, audio.GRID, video.GRID]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.modality)
def test_every_cell_has_options_that_there_are(grid: Grid) -> None:
    pytest.importorskip(f"selfsup_{grid.modality}", reason="needs its plugin")
    cells = cells_of(grid, Chosen(steps=5, seeds=1), registry())
    assert {cell.dataset for cell in cells} == set(grid.data)
    assert set(grid.tasks) < {cell.method for cell in cells}
    assert len(set(cells)) == len(cells), "results are kept by cell"
    for cell in cells:
        task = f"{cell.modality}/{cell.method if cell.trained else 'random-init'}"
        overrides = {key: value for key, value in cell.overrides if not key.startswith(FINETUNE_PREFIX)}
        if cell.backbone:
            resolve_config({"task": task, "data": cell.dataset, "backbone": cell.backbone, **overrides})
