"""The numbers that show a collapse, against their values by hand."""

from __future__ import annotations

import math

import pytest
import torch

from selfsup.objectives.parts.collapse import assignment_metrics, output_std, rank_of, relative_std, sample_std


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_relative_std_is_one_on_the_sphere_and_zero_at_a_point() -> None:
    x = torch.randn(4000, 64, generator=generator())
    assert relative_std(x).item() == pytest.approx(1, abs=0.02)
    assert relative_std(7 * x).item() == pytest.approx(relative_std(x).item(), abs=1e-5)
    assert relative_std(torch.ones(5, 3)).item() == pytest.approx(0, abs=1e-6)
    two = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    assert relative_std(two).item() == pytest.approx(0.5 * math.sqrt(2), abs=1e-6)
    assert torch.isfinite(relative_std(torch.ones(1, 3)))


def test_rank_counts_directions_even_where_each_dimension_has_its_spread() -> None:
    x = torch.randn(200, 1, generator=generator()) * torch.ones(1, 16)
    assert relative_std(x).item() == pytest.approx(1, abs=0.05)
    assert rank_of(x).item() == pytest.approx(1, abs=1e-4)
    corners = torch.cat([torch.eye(4), -torch.eye(4)])
    assert rank_of(corners).item() == pytest.approx(4, abs=1e-4)
    assert rank_of(torch.cat([corners, torch.zeros(8, 60)], dim=1)).item() == pytest.approx(4, abs=1e-4)
    assert rank_of(torch.ones(5, 3)).item() == pytest.approx(0, abs=1e-4)


def test_output_std_is_that_of_the_embeddings_as_they_are() -> None:
    x = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert output_std(x).item() == pytest.approx((1 + 2) / 2)
    assert output_std(0.01 * x).item() == pytest.approx(0.015)


def test_sample_std_sees_no_difference_between_places() -> None:
    places = torch.randn(1, 5, 8, generator=generator())
    assert sample_std(places.expand(6, -1, -1)).item() == pytest.approx(0, abs=1e-5)
    x = torch.randn(500, 5, 8, generator=generator())
    assert sample_std(x).item() == pytest.approx(1, abs=0.02)
    padding = torch.zeros(500, 5, dtype=torch.bool)
    padding[:, 3:] = True
    filled = x.masked_fill(padding.unsqueeze(-1), 1e3)
    assert sample_std(filled, padding).item() == pytest.approx(sample_std(x[:, :3]).item(), abs=1e-4)


def test_assignments_are_sure_and_use_all_prototypes_or_not() -> None:
    healthy = assignment_metrics(torch.eye(8))
    assert healthy["teacher_entropy"].item() == pytest.approx(0, abs=1e-6)
    assert healthy["prototypes_used"].item() == pytest.approx(8, rel=1e-5)
    even = assignment_metrics(torch.full((4, 8), 1 / 8))
    assert even["teacher_entropy"].item() == pytest.approx(1, abs=1e-6)
    one = assignment_metrics(torch.eye(8)[:1].expand(5, -1))
    assert one["prototypes_used"].item() == pytest.approx(1, abs=1e-6)
    balanced = assignment_metrics(torch.eye(8), torch.eye(8)[:1].expand(8, -1))
    assert balanced["prototypes_used"].item() == pytest.approx(1, abs=1e-6)
    by_hand = assignment_metrics(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert by_hand["teacher_entropy"].item() == pytest.approx(0.5)
    assert by_hand["prototypes_used"].item() == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
