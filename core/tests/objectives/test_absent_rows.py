"""Rows that lack what a view is of: every joint-embedding objective treats them as if they were not there."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException
from torch.nn import functional as F

from selfsup.objectives import ObjectiveRecipe, SimCLR, SimCLRConfig, dino_loss, sigreg, swapped_prediction
from selfsup.objectives.lejepa import _agreement
from selfsup.registry import registry
from selfsup.registry.builtin.objectives import SPECS
from selfsup.testing.kit.objective_checks import check_absent_rows, small_objective
from selfsup.testing.kit.processes import run_script_in_processes

RECIPES = {spec.id: registry().load(spec) for spec in SPECS if spec.family == "joint-embedding"}
SCRIPT = Path(__file__).with_name("absent_rows_two_processes.py")
TWO = runpy.run_path(str(SCRIPT))
VARIANTS = {
    "dcl": {"sigma": 0.5},
    "mocov2": {"symmetric": True, "queue_size": 3},
    "barlow-twins": {"output_dim": 5},
    "vicreg": {"output_dim": 5},
    "vicregl": {"output_dim": 5, "token_dim": 6, "n_matches": (3, 2)},
    "swav": {"queue_size": 0},
}
"""Options that lead to other operations: fewer dimensions than samples, a queue shorter than a batch."""


@pytest.mark.parametrize("id", RECIPES)
def test_each_objective_says_that_it_leaves_absent_rows_out(id):
    assert "arXiv:" in registry().get("objective", id).paper
    assert small_objective(RECIPES[id]).handles_absent


class Careless(SimCLR):
    """Says that it leaves out rows, and does not."""

    def forward(self, embeddings):
        return super().forward(replace(embeddings, valid=None))


class Hasty(SimCLR):
    """Cuts rows out, for which it has to wait for the device."""

    def forward(self, embeddings):
        if embeddings.valid is None:
            return super().forward(embeddings)
        both = embeddings.valid[0] & embeddings.valid[1]
        valid = [own[both] for own in embeddings.valid]
        return super().forward(replace(embeddings, online=[view[both] for view in embeddings.online], valid=valid))


class Drawing(SimCLR):
    """Draws, and not from the generator."""

    def forward(self, embeddings):
        torch.rand(1)
        return super().forward(embeddings)


@pytest.mark.parametrize(
    ("objective", "error"),
    [
        (Careless, (AssertionError, "step 0: differs by")),
        (Hasty, (DynamicOutputShapeException, "nonzero")),
        (Drawing, (AssertionError, "draws from the global random state")),
    ],
)
def test_an_objective_that_only_says_so_is_found(objective, error):
    with pytest.raises(error[0], match=error[1]):
        check_absent_rows(ObjectiveRecipe(config=SimCLRConfig, build=objective))


@pytest.mark.parametrize("id", VARIANTS)
def test_rows_that_are_not_there_change_nothing_with_other_options(id):
    check_absent_rows(RECIPES[id], VARIANTS[id])


VIEWS, GLOBAL, ROWS, WIDTH = 4, 2, 7, 5


def views_with_gaps() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Four views, and which of their rows are there; one row has a single view, one has local views alone, one has none."""
    generator = torch.Generator().manual_seed(3)
    views = [torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64) for _ in range(VIEWS)]
    there = torch.tensor([[1, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 0, 1, 0], [1, 1, 1, 0, 1, 0, 0], [1, 0, 1, 0, 1, 1, 0]]).bool()
    return views, list(there)


def test_dino_and_swav_take_the_mean_over_pairs_of_views_that_are_there():
    views, valid = views_with_gaps()
    teachers = [view.flip(0) for view in views[:GLOBAL]]
    center = torch.linspace(-1, 1, WIDTH, dtype=torch.float64)

    def by_hand(targets: list[torch.Tensor], temperature: float) -> torch.Tensor:
        losses = [
            -(targets[i][row] @ F.log_softmax(views[v][row] / temperature, dim=0))
            for i in range(GLOBAL)
            for v in range(VIEWS)
            for row in range(ROWS)
            if i != v and valid[i][row] and valid[v][row]
        ]
        return torch.stack(losses).mean()

    soft = [F.softmax((logits - center) / 0.04, dim=1) for logits in teachers]
    torch.testing.assert_close(dino_loss(views, teachers, center, 0.04, 0.1, valid), by_hand(soft, 0.1), rtol=0, atol=1e-12)
    codes = [F.softmax(logits, dim=1) for logits in teachers]
    torch.testing.assert_close(swapped_prediction(views, codes, 0.2, valid), by_hand(codes, 0.2), rtol=0, atol=1e-12)


def test_lejepa_compares_views_that_are_there_with_the_mean_of_the_global_ones():
    views, valid = views_with_gaps()
    blanked = torch.stack([torch.where(own[:, None], view, 0.0) for view, own in zip(views, valid, strict=True)])
    distances = []
    for row in range(ROWS):
        there = [v for v in range(VIEWS) if valid[v][row]]
        if len(there) > 1 and there[0] < GLOBAL:
            center = torch.stack([views[v][row] for v in there if v < GLOBAL]).mean(dim=0)
            distances += [(views[v][row] - center).square().mean() for v in there]
    agreement, weight = _agreement(blanked, torch.stack(valid), GLOBAL)
    torch.testing.assert_close(agreement, torch.stack(distances).mean(), rtol=0, atol=1e-12)
    assert int(weight) == len(distances) == 12
    directions = F.normalize(torch.randn(WIDTH, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=0)
    one_by_one = torch.stack([sigreg(view[own], directions) for view, own in zip(views, valid, strict=True)]).mean()
    torch.testing.assert_close(sigreg(blanked, directions, valid=torch.stack(valid)), one_by_one, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("gloo")
    run_script_in_processes(2, SCRIPT, str(path))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO["OPTIONS"])
def test_two_processes_with_unequal_numbers_of_rows_are_as_one(name, folder):
    expected = TWO["run"](name)
    ranks = [torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in range(2)]
    for step, (wanted, *found) in enumerate(zip(expected, *ranks, strict=True)):
        for key, value in wanted.items():
            of_rows = key.startswith("gradient ") and key.removeprefix("gradient ").isdigit()
            halves = value.chunk(2) if of_rows else (value, value)
            for rank, half in enumerate(halves):
                assert torch.allclose(found[rank][key], half, rtol=1e-9, atol=1e-9), f"{key} in step {step} on rank {rank}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_two_processes_equal_open_clips_and_one_process(name, folder):
    pytest.importorskip("open_clip.loss")
    one, _ = (TWO["against_open_clip"](0, 1, name, ours) for ours in (True, False))
    found = []
    for rank in range(2):
        ours, theirs = torch.load(folder / f"open {name}.{rank}.pt", weights_only=True)
        for mine, its in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, its, rtol=0, atol=1e-9)
        found.append(ours)
    (loss, *of_rows, scale), (loss_1, *of_rows_1, scale_1) = ((*each[:3], torch.cat(each[3:])) for each in found)
    torch.testing.assert_close((loss + loss_1) / 2, one[0], rtol=0, atol=1e-9)
    for halves, whole in zip(zip(of_rows, of_rows_1, strict=True), one[1:3], strict=True):
        torch.testing.assert_close(torch.cat(halves) / 2, whole, rtol=0, atol=1e-9)
    torch.testing.assert_close((scale + scale_1) / 2, torch.cat(one[3:]), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_siglip_keeps_no_cosines_for_the_backward_pass_where_there_are_several_devices(folder):
    rows, width = 64, 4
    assert TWO["most_saved"]() >= rows * rows
    assert [torch.load(folder / f"saved.{rank}.pt", weights_only=True) for rank in range(2)] == [rows * width] * 2
