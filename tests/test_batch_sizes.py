"""How many samples a training step takes, where the user says nothing: what the task asks for, else what suits the modality."""

from __future__ import annotations

import pytest

from selfsup.training.run.resolve import resolve_config


@pytest.mark.parametrize(
    ("task", "size"),
    [("vision/simclr", 256), ("audio/wav2vec2", 64), ("video/videomae", 32), ("tabular/byol", 256), ("tabular/scarf", 128)],
)
def test_a_task_has_a_default_that_fits_its_samples(task: str, size: int) -> None:
    options = {"task": task, "data": "nothing is read"}
    assert resolve_config(options).optimization.batch_size == size
    assert resolve_config({**options, "batch_size": 7}).optimization.batch_size == 7
