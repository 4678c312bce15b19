import pytest
import torch
from torch.nn import functional as F

from selfsup.backbones import Encoded
from selfsup_tabular.corruptions.denoising import RECIPE
from selfsup_tabular.layout import CellLayout

INFO = {"numeric_columns": ["x", "y"], "category_columns": ["c", "d"], "cardinalities": [3, 5], "n_cells": 4}


def made(n: int = 64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    missing = torch.rand(n, 2, generator=generator) < 0.2
    return {
        "numeric": torch.randn(n, 2, generator=generator).masked_fill(missing, 0),
        "missing": missing,
        "category": torch.stack([torch.randint(high, (n,), generator=generator) for high in (3, 5)], dim=1),
    }


def expected_losses(batch, prediction, distance="squared") -> torch.Tensor:
    """[B, 4], cell by cell."""
    error = prediction[:, :2] - batch["numeric"]
    numeric = (error.square() if distance == "squared" else error.abs()).masked_fill(batch["missing"], 0)
    first = F.cross_entropy(prediction[:, 2:5], batch["category"][:, 0], reduction="none")
    second = F.cross_entropy(prediction[:, 5:], batch["category"][:, 1], reduction="none")
    codes = torch.stack([first, second], dim=1).masked_fill(batch["category"] < 2, 0)  # 0: unknown, 1: missing
    return torch.cat([numeric, codes], dim=1)


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_the_loss_of_all_cells_and_of_named_cells_by_hand(distance):
    layout, batch = CellLayout(INFO), made()
    assert (layout.width, layout.n_cells) == (10, 4)
    prediction = torch.randn(64, 10, requires_grad=True)
    values = layout.values(batch)
    assert torch.equal(values[:, :2].isnan(), batch["missing"])
    expected = expected_losses(batch, prediction, distance)
    losses = layout.losses(prediction, values, distance=distance)
    torch.testing.assert_close(losses, expected)
    index = torch.stack([torch.randperm(4)[:3] for _ in range(64)])
    named = layout.losses(prediction.unsqueeze(1).expand(-1, 3, -1), values.gather(1, index), index, distance=distance)
    torch.testing.assert_close(named, expected.gather(1, index))
    weight = torch.rand(64, 4)
    for loss, wanted in (
        ((losses * weight), expected * weight),
        (named * weight.gather(1, index), (expected * weight).gather(1, index)),
    ):
        (gradient,) = torch.autograd.grad(loss.sum(), prediction, retain_graph=True)
        (by_hand,) = torch.autograd.grad(wanted.sum(), prediction, retain_graph=True)
        torch.testing.assert_close(gradient, by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("numbers", "cardinalities"), [(3, []), (0, [3, 4])])
def test_tables_of_one_sort_of_columns(numbers, cardinalities):
    info = {"numeric_columns": ["x"] * numbers, "cardinalities": cardinalities}
    layout = CellLayout(info)
    batch = {
        "numeric": torch.randn(6, numbers), "missing": torch.zeros(6, numbers, dtype=torch.bool),
        "category": torch.ones(6, len(cardinalities), dtype=torch.long),
    }  # fmt: skip
    prediction, values = torch.randn(6, layout.width), layout.values(batch)
    index = torch.arange(layout.n_cells).expand(6, -1)
    whole = layout.losses(prediction, values)
    torch.testing.assert_close(layout.losses(prediction.unsqueeze(1).expand(-1, layout.n_cells, -1), values, index), whole)
    assert whole.shape == (6, layout.n_cells)


def test_the_row_is_asked_for_as_it_was():
    corruption = RECIPE.build(RECIPE.config(), INFO)
    batch = made(2000)
    corrupted = corruption(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(corrupted.target, corruption.layout.values(batch), equal_nan=True)
    changed = (corrupted.batch["numeric"] != batch["numeric"]) | (corrupted.batch["missing"] != batch["missing"])
    assert abs(float(changed.float().mean()) - 0.15 * (1 - 0.2**2)) < 0.02
    prediction = torch.randn(2000, 10)
    there = int((~batch["missing"]).sum() + (batch["category"] >= 2).sum())
    loss = corruption.loss(prediction, corrupted)
    assert loss.loss.item() == pytest.approx(expected_losses(batch, prediction).sum().item() / there)
    assert int(loss.weight) == there < 2000 * 4


@pytest.mark.parametrize("depth", [0, 2])
def test_the_decoder_predicts_all_cells_from_the_pooled_embedding(depth):
    corruption = RECIPE.build(RECIPE.config(decoder_depth=depth, decoder_dim=16), INFO)

    class Backbone(torch.nn.Module):
        embed_dim, pooled_dim = 4, 8

    decoder = corruption.build_decoder(Backbone())
    assert decoder(Encoded(torch.randn(3, 8))).shape == (3, 10)
    assert sum(isinstance(module, torch.nn.Linear) for module in decoder.modules()) == depth + 1
