import pytest
import torch

from selfsup.backbones import TokenBackbone
from selfsup.registry import registry
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.training.run.resolve import resolve_config
from selfsup_tabular.backbones.inputs import RowInput, RowInputConfig
from selfsup_tabular.mock import mock_rows
from selfsup_tabular.processor import TableProcessor

IDS = ["mlp", "tabular-resnet", "ft-transformer"]
ROWS = mock_rows(32, 0)


def fitted(rows=ROWS) -> TableProcessor:
    return TableProcessor().fit(rows)


def built(id_: str, rows=ROWS, **options):
    torch.manual_seed(0)
    return registry().build_backbone(id_, options, fitted(rows).info())[0].eval()


NUMBERS = [{key: row[key] for key in "abcd"} for row in ROWS]
CATEGORIES = [{key: row[key] for key in ("region", "size", "positive")} for row in ROWS]


@pytest.mark.parametrize("rows", [ROWS, NUMBERS, CATEGORIES], ids=["mixed", "numbers", "categories"])
@pytest.mark.parametrize("id_", IDS)
def test_every_table_has_embeddings(id_, rows):
    batch = fitted(rows)(rows)
    backbone = built(id_, rows, dim=32, depth=2)
    encoded = backbone(batch)
    assert encoded.pooled.shape == (32, 32)
    assert torch.isfinite(encoded.pooled).all()
    single = backbone({key: value[3:4] for key, value in batch.items()})
    torch.testing.assert_close(single.pooled, encoded.pooled[3:4], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("id_", IDS)
def test_every_cell_matters_and_missing_is_not_the_mean(id_):
    batch = fitted()(ROWS)
    backbone = built(id_)
    before = backbone(batch).pooled
    for key in ("numeric", "missing", "category"):
        for place in range(batch[key].shape[1]):
            column = batch[key].clone()
            column[:, place] = ~column[:, place] if key == "missing" else (column[:, place] + 1) % 4
            assert not torch.allclose(backbone({**batch, key: column}).pooled, before, atol=1e-6), (key, place)


def test_a_row_as_a_vector_by_hand():
    info = {"numeric_columns": ["x"], "cardinalities": [3, 4]}
    batch = {"numeric": torch.tensor([[2.0]]), "missing": torch.tensor([[True]]), "category": torch.tensor([[1, 3]])}
    assert RowInput(RowInputConfig(), info)(batch).tolist() == [[2, 1, 0, 1, 0, 0, 0, 0, 1]]
    learned = RowInput(RowInputConfig(categories="embedding"), info)
    assert learned.dim == 2 + 2 + 2
    row = learned(batch)[0]
    assert torch.equal(row[2:], torch.cat([learned.embeddings[0].weight[1], learned.embeddings[1].weight[3]]))
    assert RowInput(RowInputConfig(categories="embedding", category_dim=5), info)(batch).shape == (1, 12)


@pytest.mark.parametrize(("id_", "options", "module", "count"), [
    ("mlp", {}, torch.nn.Linear, 4),
    ("mlp", {"depth": 2, "norm": "batch"}, torch.nn.BatchNorm1d, 2),
    ("mlp", {"depth": 2, "norm": "layer"}, torch.nn.LayerNorm, 2),
    ("mlp", {"depth": 2, "dropout": 0.5}, torch.nn.Dropout, 2),
    ("mlp", {"categories": "embedding"}, torch.nn.Embedding, 3),
    ("tabular-resnet", {"depth": 3}, torch.nn.Linear, 7),
    ("tabular-resnet", {"depth": 3, "dropout": 0.1}, torch.nn.Dropout, 3),
])  # fmt: skip
def test_options_change_the_network(id_, options, module, count):
    assert sum(isinstance(part, module) for part in built(id_, **options).modules()) == count


def test_the_hidden_width_of_the_resnet_follows_its_option():
    widths = {
        part.out_features
        for part in built("tabular-resnet", dim=10, expansion=1.5).modules()
        if isinstance(part, torch.nn.Linear)
    }
    assert widths == {10, 15}


def test_cells_are_tokens():
    batch, backbone = fitted()(ROWS), built("ft-transformer")
    assert isinstance(backbone, TokenBackbone)
    tokens = backbone.tokenize(batch)
    assert tokens.grid == (13,)
    encoded = backbone(batch)
    torch.testing.assert_close(encoded.pooled, backbone.encode(tokens).mean(dim=1))
    torch.testing.assert_close(backbone.layer_outputs(tokens)[-1], encoded.tokens)
    assert len(backbone.layer_outputs(tokens)) == 3
    keep = torch.stack([torch.randperm(13)[:5] for _ in range(32)])
    kept = backbone.encode(tokens, keep=keep)
    assert kept.shape == (32, 5, 96)
    order = torch.arange(13).expand(32, -1)
    torch.testing.assert_close(backbone.encode(tokens, keep=order), encoded.tokens)
    # Tokens that are not kept do not matter.
    unseen = torch.ones(32, 13, dtype=torch.bool).scatter(1, keep, False)
    torch.testing.assert_close(backbone.encode(tokens.masked(unseen, torch.randn(96)), keep=keep), kept)


def test_a_mask_hides_the_value_and_not_the_column():
    batch, backbone = fitted()(ROWS), built("ft-transformer")
    tokens = backbone.tokenize(batch)
    masked = tokens.masked(torch.ones(32, 13, dtype=torch.bool), torch.zeros(96))
    torch.testing.assert_close(masked.positions.expand(32, -1, -1), backbone.cells.column.expand(32, -1, -1))
    encoded = backbone.encode(masked)
    torch.testing.assert_close(encoded[0], encoded[1])
    assert not torch.allclose(encoded[0, 0], encoded[0, 1], atol=1e-3)


def test_targets_are_numbers_and_codes_and_each_has_its_own_loss():
    batch, backbone = fitted()(ROWS), built("ft-transformer")
    targets = backbone.targets(batch)
    assert targets.shape == (32, 13, 1)
    assert torch.equal(targets[:, :10, 0].isnan(), batch["missing"])
    assert torch.equal(targets[:, 10:, 0].long(), batch["category"])
    head = backbone.target_head(8)
    assert head(torch.randn(32, 4, 8)).shape == (32, 4, backbone.target_dim)
    index = torch.stack([torch.randperm(13)[:4] for _ in range(32)])
    prediction = torch.randn(32, 4, backbone.target_dim)
    loss = backbone.target_loss(prediction, gather_tokens(targets, index), index, distance="absolute")
    expected = backbone.layout.losses(prediction, targets[..., 0].gather(1, index), index, "absolute")
    assert torch.equal(loss, expected)
    assert torch.isfinite(loss).all()


def test_regularization_tokens_take_part_and_are_dropped():
    batch, backbone = fitted()(ROWS), built("ft-transformer", reg_tokens=2)
    assert built("ft-transformer").reg_tokens is None
    tokens = backbone.tokenize(batch)
    content = tokens.embeddings + tokens.positions
    whole = torch.cat([backbone.reg_tokens.expand(32, -1, -1), content], dim=1)
    expected = [layer[:, 2:] for layer in backbone.transformer.layers(whole)]
    torch.testing.assert_close(backbone.encode(tokens), expected[-1])
    torch.testing.assert_close(backbone.layer_outputs(tokens), expected)
    torch.testing.assert_close(backbone(batch).pooled, expected[-1].mean(dim=1))
    assert not torch.allclose(backbone.transformer(content), expected[-1], atol=1e-3)
    keep = torch.stack([torch.randperm(13)[:5] for _ in range(32)])
    kept = backbone.transformer(torch.cat([whole[:, :2], gather_tokens(content, keep)], dim=1))[:, 2:]
    torch.testing.assert_close(backbone.encode(tokens, keep=keep), kept)


def test_t_jepa_has_a_regularization_token_unless_told_otherwise():
    def reg_tokens(task, **given):
        return resolve_config({"task": task, "data": "somewhere", **given}).backbone_options.get("reg_tokens")

    assert reg_tokens("tabular/jepa") == 1
    assert reg_tokens("tabular/jepa", **{"backbone.reg_tokens": 0}) == 0
    assert reg_tokens("tabular/masked-cells") == 0
    assert reg_tokens("tabular/vime") is None
    torch.manual_seed(0)
    recipe = registry().task_recipe(registry().get("task", "tabular/jepa"))
    backbone = built("ft-transformer", reg_tokens=1)
    task = recipe.build(recipe.config(), backbone, fitted().info()).train()
    task(fitted()(ROWS), torch.Generator().manual_seed(0)).loss.backward()
    assert float(backbone.reg_tokens.grad.abs().max()) > 0
    assert task.targets(fitted()(ROWS)).shape == (32, 13, 96)
