import pytest
import torch

from selfsup_tabular.augmentations import RECIPE, SwapViewsConfig
from selfsup_tabular.features import columns
from selfsup_tabular.mock import mock_rows
from selfsup_tabular.processor import TableProcessor

ROWS = mock_rows(300, 0)


def views(**options) -> list[dict[str, torch.Tensor]]:
    batch = TableProcessor().fit(ROWS)(ROWS)
    return RECIPE.build(SwapViewsConfig(**options), {})({**batch, "label": torch.zeros(300)}, torch.Generator().manual_seed(0))


def changed(view: dict[str, torch.Tensor]) -> float:
    """Share of the rows whose first number is another one."""
    batch = TableProcessor().fit(ROWS)(ROWS)
    return float((view["numeric"][:, 0] != batch["numeric"][:, 0]).float().mean())


def test_the_first_view_is_the_row_as_it_is():
    first, second = views()
    assert changed(first) == 0
    assert abs(changed(second) - 0.6) < 0.1
    assert list(first) == list(second) == ["numeric", "missing", "category"]


def test_the_options_say_how_many_and_how_corrupted():
    made = views(n_global=2, n_local=2, rate=0.2, local_rate=0.9, corrupt_first=True)
    assert [round(changed(view), 1) for view in made] == pytest.approx([0.2, 0.2, 0.9, 0.9], abs=0.101)
    assert not torch.equal(made[0]["numeric"], made[1]["numeric"])


def test_raw_features_are_numbers_marks_and_one_hot_categories():
    info = {"cardinalities": [3]}
    batch = {"numeric": torch.tensor([[2.0]]), "missing": torch.tensor([[True]]), "category": torch.tensor([[1]])}
    assert columns(batch, info).tolist() == [[2, 1, 0, 1, 0]]
