from __future__ import annotations

import math

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.tasks.parts.transformer import Transformer, head_width, lattice_positions


def test_padding_is_looked_at_by_none() -> None:
    torch.manual_seed(0)
    network = Transformer(16, 2, 4).double()
    x = torch.randn(2, 6, 16, dtype=torch.float64)
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    alone = network(x[1:, :4])
    padded = network(x, padding)
    torch.testing.assert_close(padded[1:, :4], alone)
    changed = x.clone()
    changed[1, 4:] = torch.randn(2, 16, dtype=torch.float64)
    torch.testing.assert_close(network(changed, padding)[1, :4], padded[1, :4])
    assert not torch.allclose(network(changed)[1, :4], network(x)[1, :4])


def test_layers_end_with_the_output() -> None:
    network = Transformer(8, 3, 2)
    x = torch.randn(1, 4, 8)
    layers = network.layers(x)
    assert len(layers) == 3
    torch.testing.assert_close(layers[-1], network(x))
    assert not torch.allclose(layers[0], layers[1])


def test_residuals_start_smaller_where_that_is_asked_for() -> None:
    torch.manual_seed(0)
    usual = Transformer(8, 2, 2)
    torch.manual_seed(0)
    small = Transformer(8, 2, 2, shrink_residuals=True)
    for before, after in zip(usual.blocks, small.blocks, strict=True):
        torch.testing.assert_close(after.projection.weight, before.projection.weight / 2)
        torch.testing.assert_close(after.mlp[2].weight, before.mlp[2].weight / 2)
        assert torch.equal(after.qkv.weight, before.qkv.weight)
        assert torch.equal(after.mlp[0].weight, before.mlp[0].weight)


def test_heads_default_to_one_per_32_channels_and_must_divide_the_width() -> None:
    assert Transformer(512, 1).blocks[0].heads == 16
    assert Transformer(384, 1).blocks[0].heads == 12
    assert Transformer(100, 1).blocks[0].heads == 2
    assert Transformer(10, 1).blocks[0].heads == 1
    with pytest.raises(ConfigError, match="width 10 cannot have 3 heads"):
        Transformer(10, 1, 3)


def test_head_width_is_that_of_the_papers() -> None:
    assert head_width(None, 1024) == 512
    assert head_width(None, 768) == 384
    assert head_width(None, 32) == 32
    assert head_width(100, 1024) == 100


def test_positions_are_the_formula_on_one_axis() -> None:
    positions = lattice_positions((5,), 4, torch.device("cpu"))
    for place in range(5):
        wanted = [math.sin(place), math.sin(place / 100), math.cos(place), math.cos(place / 100)]
        assert positions[place].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("grid", [(7,), (4, 5), (2, 3, 4)])
def test_positions_tell_all_places_apart_and_use_no_axis_twice(grid: tuple[int, ...]) -> None:
    positions = lattice_positions(grid, 26, torch.device("cpu"))
    assert positions.shape == (math.prod(grid), 26)
    distances = torch.cdist(positions, positions) + 10 * torch.eye(len(positions))
    assert distances.min() > 0.05
    with pytest.raises(ConfigError, match="too small for positions"):
        lattice_positions(grid, 2 * len(grid) - 1, torch.device("cpu"))
