"""Training from scratch: each draw of the labels starts from weights of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.evaluation.evaluators import few_labels
from selfsup_bench.cells.cell import Cell
from selfsup_bench.cells.from_scratch import untrained
from selfsup_bench.cells.measure import measure_encoder

pytest.importorskip("selfsup_vision", reason="needs the vision plugin")
METRIC = "few-labels.accuracy@3"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> selfsup.Encoder:
    """A small untrained network for digits."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_CACHE", str(folder / "cache"))
        patch.delenv("SELFSUP_DATA", raising=False)
        run = selfsup.pretrain(
            "vision/random-init",
            "digits",
            backbone="resnet-narrow",
            overrides={"backbone.width": 4},
            out=folder / "run",
            accelerator="cpu",
            progress=False,
        )
        return selfsup.load(run.dir)


def cell(seed: int, first: int, draws: int) -> Cell:
    few = "evaluators.few-labels."
    options: dict[str, Any] = {"per_class": [3], "method": "finetune", "first_draw": first, "draws": draws}
    training = {"min_steps": 2, "epochs": 1, "augment": False, "precision": "32"}
    overrides = {f"{few}{key}": value for key, value in options.items()}
    overrides |= {f"{few}finetune.{key}": value for key, value in training.items()}
    return Cell(
        kind="scratch", modality="vision", task="vision/random-init", dataset="digits", backbone="vision/resnet-narrow",
        evaluators=("few-labels",), overrides=overrides, seed=seed,
    )  # fmt: skip


def test_a_seed_gives_the_same_weights_every_time_and_another_one_others(encoder: selfsup.Encoder) -> None:
    before = torch.get_rng_state()
    digests = [untrained(encoder, seed).digest() for seed in (0, 1, 0)]
    assert digests[0] == digests[2] != digests[1]
    assert torch.equal(torch.get_rng_state(), before)
    own, made = encoder.backbone.state_dict(), untrained(encoder, 5).backbone.state_dict()
    assert {name: value.shape for name, value in own.items()} == {name: value.shape for name, value in made.items()}


def test_each_draw_starts_from_weights_of_its_own_however_many_cells_share_the_draws(
    encoder: selfsup.Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)
    starts: list[str] = []
    train = few_labels.finetune_encoder

    def watched(start: selfsup.Encoder, *args: Any, **options: Any) -> Any:
        starts.append(start.digest())
        return train(start, *args, **options)

    monkeypatch.setattr(few_labels, "finetune_encoder", watched)
    measured = [measure_encoder(encoder, each, tmp_path) for each in (cell(0, 0, 3), cell(0, 0, 2), cell(1, 2, 1))]
    whole, first, second = (each.draws[METRIC] for each in measured)
    labels = measured[0].labels["3"]
    assert (labels.drawn, labels.pool) == (30, 1442)
    assert labels.overlap == pytest.approx(30 / 1442, rel=0.01)
    assert len(set(starts[:3])) == 3
    assert starts[3:] == starts[:3]
    assert first + second == whole
