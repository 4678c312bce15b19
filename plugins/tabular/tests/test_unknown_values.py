"""Unknown categories and missing values are learned, although no training row has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import selfsup
from selfsup.data import EpochSampler, Loader, load_source, prepare
from selfsup.registry import registry
from selfsup.types import Batch
from selfsup_tabular.columns.plan import FIRST, MISSING, UNKNOWN
from selfsup_tabular.config import TableProcessorConfig
from selfsup_tabular.layout import CellLayout
from selfsup_tabular.processor import TableProcessor

ROWS, COLUMNS = 400, 6


def frame(n: int, seed: int, *, known: bool = True) -> pd.DataFrame:
    """The label is in two noisy numbers; the categories say nothing of it, and may be ones that training never saw."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, n)
    numbers = {name: 2 * label - 1 + draw.normal(0, 1, n) for name in ("x", "y")}
    prefix = "k" if known else "new"
    categories = {f"c{j}": [f"{prefix}{value}" for value in draw.integers(0, 8, n)] for j in range(COLUMNS)}
    return pd.DataFrame({**numbers, **categories, "label": [f"class {value}" for value in label]})


def batches(epochs: int, tmp_path: Path, seed: int | None, **options: Any) -> tuple[TableProcessor, list[Batch]]:
    """The batches of some epochs, as training (with a seed) or evaluation (None) takes them."""
    rows = load_source(frame(ROWS, 0).drop(columns="label"), modality=registry().get("modality", "tabular"))
    processor = TableProcessor(TableProcessorConfig(**options)).fit(rows)
    store = prepare(rows, processor, cache_dir=tmp_path)
    loader = Loader(store, processor, EpochSampler(ROWS, 100, seed=0), window_seed=seed)
    return processor, [batch for epoch in range(epochs) for batch in loader.epoch(epoch)]


def joined(found: list[Batch], key: str) -> torch.Tensor:
    return torch.cat([batch[key] for batch in found])


def test_training_shows_some_cells_as_unknown_and_missing_and_evaluation_none(tmp_path: Path) -> None:
    _, shown = batches(10, tmp_path, 3)
    category = joined(shown, "category")
    # 24,000 draws: the deviation of a share of 0.01 is 0.0006.
    assert (category == UNKNOWN).float().mean().item() == pytest.approx(0.01, abs=0.003)
    assert (category == MISSING).float().mean().item() == pytest.approx(0.01, abs=0.003)
    # 8,000 draws: 0.0011.
    assert joined(shown, "missing").float().mean().item() == pytest.approx(0.01, abs=0.005)
    assert (joined(shown, "numeric")[joined(shown, "missing")] == 0).all()
    _, again = batches(10, tmp_path, 3)
    assert torch.equal(joined(again, "category"), category)
    assert not torch.equal(category[:ROWS] == UNKNOWN, category[ROWS : 2 * ROWS] == UNKNOWN)
    for _, plain in (batches(2, tmp_path, None), batches(2, tmp_path, 3, unknown_rate=0.0, missing_rate=0.0)):
        assert joined(plain, "category").min() >= FIRST
        assert not joined(plain, "missing").any()


@pytest.mark.parametrize(
    ("backbone", "options"), [("ft-transformer", {"dim": 16, "depth": 1}), ("mlp", {"categories": "embedding"})]
)
def test_vectors_of_unknown_and_missing_values_get_a_gradient(tmp_path: Path, backbone: str, options: dict[str, Any]) -> None:
    for rate in (0.01, 0.0):
        processor, shown = batches(3, tmp_path, 0, unknown_rate=rate, missing_rate=rate)
        network: Any = registry().build_backbone(backbone, options, processor.info())[0]
        for batch in shown:
            network(batch).pooled.square().sum().backward()
        if backbone == "mlp":
            gradients = [table.weight.grad for table in network.input.embeddings]
        else:
            gradients = list(network.cells.category.weight.grad.split(processor.info()["cardinalities"]))
            assert bool((network.cells.missing.grad.abs().sum(dim=1) > 0).all()) is (rate > 0)
        assert all(bool((table[[UNKNOWN, MISSING]].abs().sum(dim=1) > 0).all()) is (rate > 0) for table in gradients)


def test_an_unknown_category_is_no_target() -> None:
    layout = CellLayout({"numeric_columns": ["x"], "cardinalities": [5, 4]})
    batch = {
        "numeric": torch.zeros(2, 1),
        "missing": torch.zeros(2, 1, dtype=torch.bool),
        "category": torch.tensor([[UNKNOWN, 2], [3, MISSING]]),
    }
    values = layout.values(batch)
    assert layout.known(values).tolist() == [[True, False, True], [True, True, False]]
    losses = layout.losses(torch.randn(2, layout.width), values)
    assert (losses[0, 1].item(), losses[1, 2].item()) == (0.0, 0.0)
    index = torch.tensor([[1, 2], [1, 2]])
    picked = layout.losses(torch.randn(2, 2, layout.width), values[:, 1:], index)
    assert ((picked == 0).tolist()) == [[True, False], [False, True]]


def test_new_categories_at_test_cost_no_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    train, test = frame(ROWS, 0), frame(600, 1, known=False)
    scores = {}
    for rate in (0.01, 0.0):
        overrides = {"backbone.dim": 16, "backbone.depth": 1, "processor.unknown_rate": rate, "processor.missing_rate": rate}
        run = selfsup.pretrain(
            "tabular/supervised", train, out=tmp_path / str(rate), label="label", backbone="ft-transformer", epochs=12,
            batch_size=100, precision="32", progress=False, overrides={**overrides, "lr": 1e-2},
        )  # fmt: skip
        seen, new = (run.encoder.embed(rows.drop(columns="label").to_dict("records")) for rows in (train, test))
        scores[rate] = LogisticRegression(max_iter=2000).fit(seen, train["label"]).score(new, test["label"])
    assert scores[0.01] >= scores[0.0]
    assert scores[0.01] > 0.8
