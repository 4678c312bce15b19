import pytest
import torch

from selfsup.testing.kit.task_checks import generator
from selfsup_tabular.corruptions import marginal_swap, swap_cells
from selfsup_tabular.corruptions.swap import n_cells


def made(n: int = 400, n_numeric: int = 3, n_categories: int = 2) -> dict[str, torch.Tensor]:
    """Each row has its own value in every column but the last, where all share one; column 0 is missing in every fourth row."""
    rows = torch.arange(n)
    missing = torch.zeros(n, n_numeric, dtype=torch.bool)
    missing[::4, :1] = True
    category = rows.unsqueeze(1).repeat(1, n_categories)
    category[:, -1:] = 5
    return {
        "numeric": (rows.unsqueeze(1) + torch.zeros(n_numeric)).masked_fill(missing, 0),
        "missing": missing,
        "category": category,
        "other": rows,
    }


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.6, 1.0])
def test_each_cell_is_drawn_with_the_rate(rate):
    batch = made()
    swapped = marginal_swap(batch, rate, generator())
    assert swapped.drawn.shape == (400, 5)
    deviation = (rate * (1 - rate) / 400) ** 0.5
    assert ((swapped.drawn.float().mean(dim=0) - rate).abs() <= 4 * deviation + 1e-9).all()
    assert swapped.batch["other"] is batch["other"]


def test_replaced_says_where_a_value_really_changed():
    batch = made()
    swapped = marginal_swap(batch, 0.6, generator())
    new = swapped.batch
    differs = (new["numeric"] != batch["numeric"]) | (new["missing"] != batch["missing"])
    assert torch.equal(swapped.replaced, torch.cat([differs, new["category"] != batch["category"]], dim=1))
    assert not (swapped.replaced & ~swapped.drawn).any()
    # Another row always has another value, save in the last column (one value) and where a missing cell meets a missing one.
    assert torch.equal(swapped.replaced[:, 1:4], swapped.drawn[:, 1:4])
    assert not swapped.replaced[:, 4].any()
    both_missing = swapped.drawn[:, 0] & batch["missing"][:, 0] & new["missing"][:, 0]
    assert both_missing.any()
    assert not swapped.replaced[both_missing, 0].any()


def test_values_come_with_their_mark_from_the_columns_own_marginal():
    batch = made()
    batch["numeric"][:, 1] += 10_000
    new = marginal_swap(batch, 1.0, generator()).batch
    assert (new["missing"][:, 0].float().mean() - 0.25).abs() < 0.08
    assert not new["numeric"][new["missing"]].any()
    assert ((new["numeric"][:, 1] >= 10_000) & (new["numeric"][:, 1] < 10_400)).all()
    # Cells of a row are drawn apart: two columns rarely come from one row.
    assert ((new["numeric"][:, 1] - 10_000) == new["numeric"][:, 2]).float().mean() < 0.05


def test_the_batch_stays_as_it_was_and_the_generator_decides():
    batch = made()
    before = {key: value.clone() for key, value in batch.items()}
    one, again, other = (marginal_swap(batch, 0.5, generator(seed)).batch["numeric"] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert all(torch.equal(batch[key], before[key]) for key in batch)


def test_swap_cells_takes_the_rows_it_is_told():
    batch = made(3)
    donors = torch.tensor([[2] * 5, [0] * 5, [1] * 5])
    drawn = torch.tensor([[False, True, False, True, True]] * 3)
    new = swap_cells(batch, donors, drawn)
    assert new.batch["numeric"].tolist() == [[0, 2, 0], [1, 0, 1], [2, 1, 2]]
    assert new.batch["category"].tolist() == [[2, 5], [0, 5], [1, 5]]
    assert new.replaced.tolist() == [[False, True, False, True, False]] * 3


@pytest.mark.parametrize(("n", "numbers", "categories"), [(1, 3, 2), (5, 0, 2), (5, 3, 0)])
def test_one_row_and_one_sort_of_columns_will_do(n, numbers, categories):
    batch = made(n, numbers, categories)
    swapped = marginal_swap(batch, 1.0, generator())
    assert n_cells(swapped.batch) == numbers + categories
    assert swapped.replaced.any() == (n > 1)
