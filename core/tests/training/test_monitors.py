from __future__ import annotations

import pytest
import torch

from selfsup.training.observe.collapse_monitor import describe_collapse, effective_rank, embedding_std


def test_std_is_one_on_the_sphere_and_zero_at_a_point() -> None:
    g = torch.Generator().manual_seed(0)
    assert embedding_std(torch.randn(4000, 64, generator=g)) == pytest.approx(1.0, abs=0.02)
    assert embedding_std(torch.ones(100, 64)) == 0.0


def test_effective_rank_counts_directions() -> None:
    g = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(512, 3, generator=g, dtype=torch.float64))[0]
    centred = directions - directions.mean(dim=0)
    basis = torch.linalg.qr(centred)[0]
    embeddings = basis @ torch.linalg.qr(torch.randn(16, 3, generator=g, dtype=torch.float64))[0].T
    assert effective_rank(embeddings + 5.0) == pytest.approx(3.0, abs=1e-6)
    assert effective_rank(torch.ones(10, 4)) == 1.0


def test_rank_of_two_unequal_directions_by_hand() -> None:
    x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    shares = torch.tensor([0.75, 0.25])
    assert effective_rank(x) == pytest.approx(float(torch.exp(-(shares * shares.log()).sum())), abs=1e-6)


def test_collapse_is_named() -> None:
    assert describe_collapse(0.8, 20.0) == ""
    assert "collapsed: the spread of the normalised embeddings is 0.010" in describe_collapse(0.01, 20.0)
    assert "collapsed to a line: its effective rank is 1.20" in describe_collapse(0.8, 1.2)
