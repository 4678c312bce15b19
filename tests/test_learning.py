"""Learning is tested by learning: on real images, in seconds, pretraining beats the same network's random initialisation."""

from __future__ import annotations

import pytest

import selfsup

BUDGET = {"backbone": "resnet-narrow", "steps": 60, "batch_size": 128, "seed": 0}


@pytest.fixture(scope="module")
def knn_of_random_init(tmp_path_factory):
    return knn("vision/random-init", tmp_path_factory.mktemp("random"), {"backbone": "resnet-narrow", "seed": 0})


def knn(task, folder, options) -> float:
    """kNN accuracy on the held-out digits after pretraining on the others."""
    run = selfsup.pretrain(task, data="mnist-5k", out=folder / "run", **options)
    (record,) = selfsup.evaluate(run.encoder, data="mnist-5k", evaluators=["knn"])
    return record.metrics["accuracy"]


NARROW_HEAD = {"objective.hidden_dim": 512, "objective.output_dim": 512}
"""Instead of the paper's 8192, which take minutes on a CPU."""


@pytest.mark.parametrize(("task", "overrides"), [("vision/simclr", {}), ("vision/vicreg", NARROW_HEAD)])
def test_pretraining_beats_random_init(task, overrides, knn_of_random_init, tmp_path):
    assert knn(task, tmp_path, {**BUDGET, "overrides": overrides}) > knn_of_random_init + 0.03
