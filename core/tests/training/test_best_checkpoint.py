"""The best checkpoint: kept by a validation probe alone, and taken by whatever takes a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.cli.main import program
from selfsup.errors import ArtifactError, ConfigError
from selfsup.evaluation.embedding.embed import embed
from selfsup.evaluation.evaluate import evaluate, finetune
from selfsup.training.observe import online_probe

pytestmark = pytest.mark.usefixtures("toy")

COURSE = [0.2, 0.4, 0.9, 0.6, 0.3]
"""Accuracy of the probe at steps 0, 2, 4, 6 and 8: it peaks in the middle."""


def pretrain(out: Path, task: str = "sequence/vicreg", **options: Any) -> selfsup.Run:
    heads = {} if task == "sequence/supervised" else {"objective.hidden_dim": 16, "objective.output_dim": 8}
    options = {"steps": 8, "probe_every": 2, "backbone": "sequence/conv", **options}
    overrides = {**heads, **options.pop("overrides", {})}
    return selfsup.pretrain(
        task, "toy-sequences", out=out, batch_size=64, precision="32", progress=False, overrides=overrides, lr=0.01, **options
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Any]]:
    """Embeddings that each look gave to the probe, and its rows; the accuracy follows :data:`COURSE`."""
    looks: list[tuple[Tensor, Any]] = []

    def accuracy(self: online_probe.OnlineProbe, embeddings: Tensor) -> float:
        looks.append((embeddings, self.indices))
        return COURSE[len(looks) - 1]

    monkeypatch.setattr(online_probe.OnlineProbe, "score", accuracy)
    return looks


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("sequence/byol", {}),
        ("sequence/vicreg", {"optimization.ema": 0.5}),
    ],
)
def test_the_best_encoder_is_the_one_that_the_probe_saw_at_its_peak(
    tmp_path: Path, seen: list[tuple[Tensor, Any]], task: str, overrides: dict[str, Any]
) -> None:
    run = pretrain(tmp_path / "run", task, val="toy-sequences:test", overrides=overrides)
    best = selfsup.load(run.dir, checkpoint="best")
    rows = selfsup.data.load_source("toy-sequences:test", modality=selfsup.registry.registry().get("modality", "sequence"))
    for encoder, look in ((best, 2), (selfsup.load(run.dir), 4)):
        embeddings, indices = seen[look]
        found = torch.from_numpy(encoder.embed(rows.read(indices)))
        torch.testing.assert_close(found, embeddings)
    assert not torch.allclose(seen[2][0], seen[4][0], atol=1e-4)
    assert best.metadata["checkpoint"] == "best"
    assert (best.metadata["checkpoint_step"], best.metadata["probe_accuracy"]) == (4, 0.9)
    assert best.pretraining_rows is not None


def test_every_command_takes_the_best_checkpoint_and_records_name_it(tmp_path: Path, seen: list[tuple[Tensor, Any]]) -> None:
    run = pretrain(tmp_path / "run", val="toy-sequences:test")
    left = evaluate(run.dir, "toy-sequences", evaluators=["knn"])[0]
    best = evaluate(run.dir, "toy-sequences", evaluators=["knn"], checkpoint="best")[0]
    assert (left.checkpoint, best.checkpoint) == (None, "best")
    assert best.encoder == selfsup.load(run.dir, checkpoint="best").digest() != left.encoder
    assert best.details["checkpoint_step"] == 4
    assert best.details["chosen_on_test_rows"] is True
    assert len(list(RunDirectory(run.dir).results.glob("*.json"))) == 2
    embed(run.dir, "toy-sequences", tmp_path / "best.npy", checkpoint="best")
    embed(run.dir, "toy-sequences", tmp_path / "left.npy")
    assert not np.allclose(np.load(tmp_path / "best.npy"), np.load(tmp_path / "left.npy"), atol=1e-4)
    tuned = finetune(run.dir, "toy-sequences", options={"epochs": 1, "precision": "32"}, checkpoint="best")
    assert tuned.record.checkpoint == "best"

    def call(*arguments: object) -> Any:
        return CliRunner().invoke(program, [str(argument) for argument in arguments])

    outcome = call("evaluate", run.dir, "--data", "toy-sequences", "--evaluators", "knn", "--checkpoint", "best", "--json")
    assert '"checkpoint": "best"' in outcome.stdout
    assert "chosen on these test rows" in " ".join(outcome.stderr.split())
    exported = call("export", run.dir, "--format", "safetensors", "--out", tmp_path / "copy", "--checkpoint", "best")
    assert exported.exit_code == 0
    assert selfsup.load(tmp_path / "copy").digest() == best.encoder
    assert call("evaluate", run.dir, "--data", "toy-sequences", "--checkpoint", "worst").exit_code == 2


def test_without_a_probe_no_checkpoint_is_the_best(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", checkpoint_every=2)
    assert [path.name for path in (run.dir / "checkpoints").iterdir()] == ["last.pt"]
    with pytest.raises(ArtifactError, match=r"kept no best checkpoint.*Pretrain with --val SRC"):
        selfsup.load(run.dir, checkpoint="best")
    with pytest.raises(ConfigError, match="checkpoint='first' is not allowed"):
        selfsup.load(run.dir, checkpoint="first")
    with pytest.raises(ConfigError, match=r"needs the folder of a run"):
        selfsup.load(run.dir / "encoder", checkpoint="best")
    with pytest.raises(ConfigError, match=r"and an encoder was given"):
        evaluate(run.encoder, "toy-sequences", evaluators=["knn"], checkpoint="best")
