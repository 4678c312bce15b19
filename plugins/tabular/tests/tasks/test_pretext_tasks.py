"""Views, masks and losses of the tasks, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from selfsup.errors import ConfigError
from selfsup.objectives import nt_xent
from selfsup.registry import registry
from selfsup.tasks import TaskRecipe
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.types import Batch
from selfsup_tabular.backbones.ft_transformer import FTTransformerBackbone, FTTransformerConfig
from selfsup_tabular.backbones.mlp import MLPBackbone, MLPConfig
from selfsup_tabular.cell_masking import hidden_at_random, hide_cells
from selfsup_tabular.corruptions import marginal_swap
from selfsup_tabular.tasks import scarf
from selfsup_tabular.tasks.saint import SAINT, MixedViews, SAINTConfig
from selfsup_tabular.tasks.subtab import SubsetViews, SubTab, SubTabConfig, column_subsets
from selfsup_tabular.tasks.supervised_transfer import RECIPE as TRANSFER
from selfsup_tabular.tasks.supervised_transfer import HiddenCells, HiddenCellsConfig
from selfsup_tabular.tasks.vime import VIME, VIMEConfig

INFO: dict[str, Any] = {
    "numeric_columns": ["a", "b", "c"], "category_columns": ["d", "e"], "cardinalities": [4, 6], "n_cells": 5,
}  # fmt: skip


def recipe_of(name: str) -> TaskRecipe:
    return registry().task_recipe(registry().get("task", f"tabular/{name}"))


def table(rows: int = 12) -> Batch:
    g = generator(9)
    missing = torch.rand(rows, 3, generator=g) < 0.2
    category = torch.stack([torch.randint(c, (rows,), generator=g) for c in (4, 6)], dim=1)
    return {"numeric": torch.randn(rows, 3, generator=g).masked_fill(missing, 0.0), "missing": missing, "category": category}


def mlp() -> MLPBackbone:
    torch.manual_seed(0)
    return MLPBackbone(MLPConfig(dim=16, depth=2), INFO)


def transformer() -> FTTransformerBackbone:
    torch.manual_seed(0)
    return FTTransformerBackbone(FTTransformerConfig(dim=16, depth=1, heads=2), INFO)


def cell_loss(prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Squared error of numbers, cross-entropy of codes, the mean over cells that are there; 3 numbers, 4 and 6 logits a row."""
    numbers = (prediction[:, :3] - batch["numeric"]).square()
    first = F.cross_entropy(prediction[:, 3:7], batch["category"][:, 0], reduction="none")
    second = F.cross_entropy(prediction[:, 7:], batch["category"][:, 1], reduction="none")
    losses = torch.cat([numbers, first[:, None], second[:, None]], dim=1)
    return losses[present(batch)].mean()


def present(batch: Batch) -> torch.Tensor:
    """[B, 5] bool, the cells that hold something; codes 0 and 1 are unknown and missing categories."""
    return torch.cat([~batch["missing"], batch["category"] >= 2], dim=1)


def test_vime_finds_cells_whose_value_changed_and_gives_all_cells_back() -> None:
    torch.manual_seed(0)
    task, batch = VIME(VIMEConfig(rate=0.5, feature_weight=3.0), mlp(), INFO), table()
    swapped = marginal_swap(batch, 0.5, generator(4))
    assert (swapped.drawn & ~swapped.replaced).any()  # a cell that met its like counts as unchanged
    pooled = task.backbone(swapped.batch).pooled
    asked = present(batch) & present(swapped.batch)
    assert 0 < asked.sum() < present(batch).sum() < asked.numel()
    mask = F.binary_cross_entropy(task.mask_head(pooled).sigmoid()[asked], swapped.replaced.float()[asked])
    cells = cell_loss(task.decoder(pooled), batch)
    output = task(batch, generator(4))
    assert_same_loss(task, output.loss, mask + 3 * cells, 1e-5)
    assert output.metrics["mask_loss"].item() == pytest.approx(mask.item(), rel=1e-5)
    assert output.metrics["feature_loss"].item() == pytest.approx(cells.item(), rel=1e-5)
    assert [int(term.weight) for term in output.terms] == [int(asked.sum()), int(present(batch).sum())]
    assert VIMEConfig().feature_weight == 2.0


@pytest.mark.parametrize("task", ["vime", "subtab", "saint", "denoising-autoencoder", "masked-cells", "mae", "simmim"])
def test_a_column_that_is_missing_throughout_changes_no_loss(task: str) -> None:
    """Predictions of missing cells get no gradient, and the mean leaves these cells out."""
    recipe = recipe_of(task)
    batch = table()
    batch["missing"][:, 0], batch["category"][:, 1] = True, 1
    batch["numeric"][:, 0] = 0.0
    torch.manual_seed(0)
    built = recipe.build(recipe.config(), transformer(), INFO)
    output = built(batch, generator(3))
    output.loss.backward()
    heads = {"vime": "decoder.", "subtab": "decoder.", "saint": "head.", "denoising-autoencoder": "decoder."}
    prefix = heads.get(task, "head.")
    last = [p for name, p in built.named_parameters() if name.startswith(prefix) and len(p) == 13 and p.ndim == 2][-1]
    assert (last.grad.abs().sum(dim=1) > 0).tolist() == [False, True, True] + [True] * 4 + [False] * 6
    weights = [term.weight for term in output.terms] or [output.weight]
    counted = [int(weight) for weight in weights if weight is not None]
    assert counted
    assert all(0 < count <= int(present(batch).sum()) for count in counted)


def test_subsets_of_the_columns_overlap_with_their_neighbours() -> None:
    held = column_subsets(8, 4, 0.5)
    assert held.int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 1],
    ]
    assert column_subsets(8, 4, 0.0).sum(dim=0).tolist() == [1] * 8
    for n_cells in (2, 3, 5, 13, 64):
        held = column_subsets(n_cells, 4, 0.75)
        assert held.shape == (min(4, n_cells), n_cells)
        assert held.any(dim=0).all()
        assert held.any(dim=1).all()
    with pytest.raises(ConfigError, match="this table has 1"):
        column_subsets(1, 4, 0.75)


def test_a_subset_view_has_its_columns_and_the_others_missing() -> None:
    config, batch = SubTabConfig(n_subsets=5, overlap=0.0, noise=0.0), table()
    *parts, whole = SubsetViews(config, 5)(batch, generator())
    assert all(torch.equal(whole[key], batch[key]) for key in batch)
    for place, view in enumerate(parts):
        for column in range(3):
            same = place == column
            assert torch.equal(view["numeric"][:, column], batch["numeric"][:, column] if same else torch.zeros(12))
            assert torch.equal(view["missing"][:, column], batch["missing"][:, column] if same else torch.ones(12).bool())
        for column in range(2):
            wanted = batch["category"][:, column] if place == 3 + column else torch.ones(12, dtype=torch.long)
            assert torch.equal(view["category"][:, column], wanted)
    assert SubsetViews(config.model_copy(update={"whole_row": False}), 5).n_global == 5
    noisy = SubsetViews(config.model_copy(update={"noise": 0.5}), 5)(batch, generator())[-1]
    assert not torch.equal(noisy["numeric"], batch["numeric"])


def test_subtab_loss_by_hand() -> None:
    config = SubTabConfig(n_subsets=2, temperature=0.3, contrastive_weight=0.7, distance_weight=0.2, output_dim=8, hidden_dim=8)
    torch.manual_seed(0)
    task, batch = SubTab(config, mlp(), INFO), table()
    views = task.views(batch, generator(5))
    encoded = [task.backbone(view) for view in views]
    z = [task.projector(view.pooled) for view in encoded]
    cells = torch.stack([cell_loss(task.decoder(view), batch) for view in encoded]).mean()
    pairs = [(0, 1), (0, 2), (1, 2)]
    contrast = torch.stack([nt_xent(z[i], z[j], 0.3) for i, j in pairs]).mean()
    distance = torch.stack([(z[i] - z[j]).square().mean() for i, j in pairs]).mean()
    wanted = cells + 0.7 * contrast + 0.2 * distance
    assert_same_loss(task, task(batch, generator(5)).loss, wanted, 1e-5)


def test_saint_views_are_the_row_a_cutmix_and_another_cutmix_row() -> None:
    batch = table()
    clean, cut, other = MixedViews(0.4)(batch, generator(2))
    assert clean is batch
    expected = marginal_swap(batch, 0.4, generator(2)).batch
    assert torch.equal(cut["numeric"], expected["numeric"])
    for i in range(12):
        same = [j for j in range(12) if all(torch.equal(other[key][i], cut[key][j]) for key in batch)]
        assert [j for j in same if j != i]
    alone = MixedViews(0.4)({key: value[:1] for key, value in batch.items()}, generator(2))
    assert torch.equal(alone[2]["numeric"], batch["numeric"][:1])


def test_saint_loss_by_hand() -> None:
    config = SAINTConfig(mixup=0.25, denoising_weight=3.0, hidden_dim=8, output_dim=8)
    torch.manual_seed(0)
    task, batch = SAINT(config, transformer()), table()
    _, cut, other = task.views(batch, generator(6))
    net = task.backbone
    tokens = net.tokenize(batch)
    mixed = 0.75 * net.tokenize(cut).embeddings + 0.25 * net.tokenize(other).embeddings
    r = net.transformer(tokens.embeddings + tokens.positions)
    r_mixed = net.transformer(mixed + tokens.positions)
    contrast = nt_xent(task.projector(r.mean(dim=1)), task.mixed_projector(r_mixed.mean(dim=1)), 0.7)
    logits = task.head(r_mixed)
    own = torch.cat([logits[:, i, i : i + 1] for i in range(3)] + [logits[:, 3, 3:7], logits[:, 4, 7:]], dim=1)
    wanted = contrast + 3 * cell_loss(own, batch)
    assert_same_loss(task, task(batch, generator(6)).loss, wanted, 1e-5)


def test_hidden_cells_are_drawn_at_their_rate_and_look_missing() -> None:
    batch = {key: value.repeat(200, 1) for key, value in table().items()}
    hidden = hidden_at_random(batch, 0.25, generator())
    assert hidden.shape == (2400, 5)
    # 12,000 draws: the deviation of the share is 0.004.
    assert hidden.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert ((hidden.float().mean(dim=0) - 0.25).abs() < 0.05).all()
    view = hide_cells(batch, hidden)
    assert torch.equal(view["missing"], batch["missing"] | hidden[:, :3])
    assert (view["numeric"][hidden[:, :3]] == 0).all()
    assert (view["category"][hidden[:, 3:]] == 1).all()
    assert torch.equal(view["category"][~hidden[:, 3:]], batch["category"][~hidden[:, 3:]])
    assert len(HiddenCells(HiddenCellsConfig(n_global=2, rate=0.5), INFO)(batch, generator())) == 2


def test_supervised_transfer_trains_on_labels_through_hidden_cells() -> None:
    config = TRANSFER.config.model_validate({"views": {"rate": 0.5}})
    task = TRANSFER.build(config, mlp(), {**INFO, "n_classes": 3})
    batch = {**table(), "label": torch.arange(12) % 3}
    hidden = hide_cells(table(), hidden_at_random(table(), 0.5, generator(3)))
    wanted = F.cross_entropy(task.head(task.backbone(hidden).pooled), batch["label"])  # type: ignore[operator]
    assert_same_loss(task, task(batch, generator(3)).loss, wanted, 1e-5)


def test_recipes_carry_their_papers_values() -> None:
    config: Any = recipe_of("scarf").config()
    assert (config.views.rate, config.views.corrupt_first, config.views.n_global) == (0.6, False, 2)
    assert (config.objective.temperature, config.objective.hidden_dim, config.objective.output_dim) == (1.0, 256, 256)
    projector = scarf.SCARFObjective(config.objective).build_projector(8)
    assert [type(layer).__name__ for layer in projector] == ["Linear", "ReLU", "Linear"]
    assert recipe_of("jepa").config().masking == "random"  # type: ignore[attr-defined]
    assert recipe_of("masked-cells").config().normalize_targets is False  # type: ignore[attr-defined]
    assert SubTabConfig().n_subsets == 4
    saint = SAINTConfig()
    assert (saint.cutmix, saint.mixup, saint.temperature, saint.denoising_weight) == (0.3, 0.2, 0.7, 10)
    for name in ("vicreg", "barlow-twins", "byol", "simsiam"):
        recipe = recipe_of(name)
        chosen = {key: recipe.optimization[key] for key in ("optimizer", "lr", "batch_size")}
        assert chosen == {"optimizer": "adamw", "lr": 1e-3, "batch_size": 256}
        assert recipe.config().objective.hidden_dim == 512  # type: ignore[attr-defined]
