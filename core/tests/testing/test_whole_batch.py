"""The checks that hold chunks and processes against the whole batch find a mean that is over their own tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selfsup.tasks.base import InputChange
from selfsup.testing import TaskCase, check_accumulated_chunks, task_cases
from selfsup.testing.kit.cases import shortened
from selfsup.testing.kit.joined_batch import forward_joined, halves
from selfsup.testing.toy.sequences.installed import installed

SCRIPT = Path(__file__).with_name("local_means.py")
TASKS = ("sequence/next-token", "sequence/mae", "sequence/cpc", "sequence/denoising-autoencoder")


@pytest.fixture
def cases(tmp_path: Path):
    with installed(tmp_path):
        yield {case.spec.id: case for case in task_cases("sequence")}


@pytest.mark.slow
def test_a_planted_local_mean_is_found_in_two_processes_and_in_chunks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), *TASKS], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "the loss of step 1 differs by" in found["on devices"][0]
    for task in TASKS:
        complaints = found[task]
        # CPC draws negatives from the whole batch, which chunks of it do not see: they are not compared.
        assert len(complaints) == (1 if task == "sequence/cpc" else 2), complaints
        assert all("gradients differ by" in complaint for complaint in complaints)


@pytest.mark.parametrize("task", ["sequence/next-token", "sequence/mae", "sequence/wav2vec2", "sequence/cluster-prediction"])
def test_a_right_mean_passes(task: str, cases: dict[str, TaskCase]) -> None:
    check_accumulated_chunks(cases[task])


def test_a_task_that_denies_coupling_its_samples_is_found(cases: dict[str, TaskCase], monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.objectives.nt_xent import SimCLR

    case = cases["sequence/simclr"]
    check_accumulated_chunks(case)
    monkeypatch.setattr(SimCLR, "couples_samples", False)
    with pytest.raises(AssertionError, match="accumulate=3 against the whole batch: gradients differ"):
        check_accumulated_chunks(replace(case, rows=12))  # another case, which is built anew


def test_halves_have_clearly_unequal_numbers_of_tokens(cases: dict[str, TaskCase]) -> None:
    first, second = halves(cases["sequence/mae"].uneven_batch())
    assert 2 * int((~first["padding"]).sum()) < int((~second["padding"]).sum())
    kept = torch.tensor([False, True])
    clip = {"waveform": torch.ones(2, 30), "length": torch.tensor([30, 24])}
    cut = shortened(clip, kept)
    assert cut["length"].tolist() == [10, 24]
    assert cut["waveform"].sum(dim=1).tolist() == [10, 24]
    table = {"numeric": torch.ones(2, 5), "missing": torch.zeros(2, 5, dtype=torch.bool), "category": torch.ones(2, 1)}
    assert shortened(table, kept)["missing"].tolist() == [[False, True, False, True, False], [False] * 5]


def test_the_whole_batch_has_the_draws_of_its_halves(cases: dict[str, TaskCase]) -> None:
    class Shift(InputChange):
        def forward(self, batch, generator):
            return {"x": batch["x"] + torch.randn(len(batch["x"]), generator=generator)}

    class Task(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = Shift()

        def forward(self, batch, generator):
            changed = self.shift(batch, generator)["x"]
            token = torch.rand(4, len(changed), generator=generator)
            choice = torch.randint(3, (len(changed), 2), generator=generator)
            shared = torch.rand((3,), generator=generator)
            return changed, token, choice, shared

    batch = {"x": torch.arange(10.0)}
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    whole = forward_joined(Task(), batch, generators)
    apart = [Task()(half, torch.Generator().manual_seed(seed)) for half, seed in zip(halves(batch), (1, 2), strict=True)]
    assert torch.equal(whole[0], torch.cat([apart[0][0], apart[1][0]]))
    assert torch.equal(whole[1], torch.cat([apart[0][1], apart[1][1]], dim=1))
    assert torch.equal(whole[2], torch.cat([apart[0][2], apart[1][2]]))
    assert torch.equal(whole[3], apart[0][3])
