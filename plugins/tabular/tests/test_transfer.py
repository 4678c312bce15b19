"""Encoders transferred to tables with other columns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import selfsup
from selfsup.artifacts import Encoder
from selfsup.backbones import Backbone
from selfsup.errors import ColumnError, ConfigError
from selfsup.registry import registry
from selfsup_tabular import transfer
from selfsup_tabular.carry_over import carry_over, match_cells
from selfsup_tabular.config import TableProcessorConfig
from selfsup_tabular.processor import TableProcessor
from selfsup_tabular.transfer_command import command

BACKBONES: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {"dim": 12, "depth": 2}),
    "mlp-embedding": ("mlp", {"dim": 12, "depth": 2, "categories": "embedding", "category_dim": 3}),
    "resnet": ("tabular-resnet", {"dim": 12, "depth": 1}),
    "ft-transformer": ("ft-transformer", {"dim": 16, "depth": 1, "heads": 2}),
}


def frame(n: int = 80, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    x = rng.normal(size=n) + 2 * kind
    return pd.DataFrame(
        {
            "x": x,
            "y": np.where(rng.random(n) < 0.15, np.nan, x + rng.normal(size=n)),
            "z": rng.normal(size=n),
            "town": np.array(["north", "east", "south"])[kind],
            "size": rng.choice(["small", "large"], size=n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, size=n), unit="D"),
        }
    )


def encoder(which: str, data: pd.DataFrame, **options: Any) -> Encoder:
    processor = TableProcessor(TableProcessorConfig(**options)).fit(data)
    name, config = BACKBONES[which]
    torch.manual_seed(1)
    backbone, resolved = registry().build_backbone(name, config, processor.info())
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Encoder(processor, backbone, backbone_id=name, backbone_options=resolved, task="tabular/scarf").eval()


def embed(encoder: Encoder, data: pd.DataFrame) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return encoder(encoder.processor(data)).numpy()  # type: ignore[arg-type]  # a table is fine, too


@pytest.mark.parametrize("which", BACKBONES)
def test_the_same_columns_in_another_order_give_the_same_embeddings(which: str) -> None:
    data = frame()
    old = encoder(which, data)
    moved = transfer(old, frame(50, seed=5)[list(reversed(data.columns))])
    assert (set(moved.shared), moved.new, moved.gone) == (set(data.columns), (), ())
    np.testing.assert_allclose(embed(moved.encoder, data), embed(old, data), atol=1e-5)


@pytest.mark.parametrize("which", ["mlp", "mlp-embedding", "resnet"])
def test_columns_that_are_gone_count_as_missing_and_new_ones_say_nothing_at_first(which: str) -> None:
    data = frame()
    old = encoder(which, data, absent_columns="missing")
    below = frame(40, seed=3).drop(columns=["z", "size", "day"]).assign(weight=np.arange(40.0), colour=["red", "blue"] * 20)
    moved = transfer(old, below)
    assert (moved.shared, moved.new) == (("x", "y", "town"), ("weight", "colour"))
    assert set(moved.gone) == {"z", "size", "day"}
    wanted = embed(old, below[["x", "y", "town"]])
    np.testing.assert_allclose(embed(moved.encoder, below), wanted, atol=1e-5)
    np.testing.assert_allclose(embed(moved.encoder, below.assign(weight=0.0, colour="red")), wanted, atol=1e-5)


def test_a_transformer_keeps_the_vectors_of_shared_columns_and_codes() -> None:
    data = frame()
    old = encoder("ft-transformer", data)
    below = pd.DataFrame({"fresh": np.arange(30.0), "y": np.arange(30.0), "town": ["west", "south", "south"] * 10})
    moved = transfer(old, below)
    before, after = old.backbone.cells, moved.encoder.backbone.cells  # type: ignore[union-attr]
    names = list(old.processor.info()["numeric_columns"])
    assert torch.equal(after.weight[1], before.weight[names.index("y")])  # type: ignore[union-attr, index]
    assert torch.equal(after.missing[1], before.missing[names.index("y")])  # type: ignore[union-attr, index]
    assert not any(torch.equal(after.weight[0], row) for row in before.weight)  # type: ignore[union-attr, index]
    assert torch.equal(after.column[0, 1], before.column[0, names.index("y")])  # type: ignore[union-attr, index]
    town = [column.name for column in old.processor.plan.categories].index("town")  # type: ignore[attr-defined]
    assert torch.equal(after.column[0, 2], before.column[0, len(names) + town])  # type: ignore[union-attr, index]
    assert old.processor.info()["cardinalities"][town] == 5
    assert moved.encoder.processor.info()["cardinalities"] == [6]
    begin = int(before.offsets[town])  # type: ignore[union-attr, index]
    assert torch.equal(after.category.weight[:5], before.category.weight[begin : begin + 5])  # type: ignore[union-attr]
    assert not torch.equal(after.category.weight[5], before.category.weight[begin + 4])  # type: ignore[union-attr]
    for name, tensor in old.backbone.transformer.state_dict().items():  # type: ignore[union-attr, operator]
        assert torch.equal(moved.encoder.backbone.transformer.state_dict()[name], tensor)  # type: ignore[union-attr, operator]


def test_a_value_means_the_same_in_both_tables() -> None:
    data = frame()
    old = encoder("mlp", data)
    moved = transfer(old, data.assign(x=data["x"] * 100 + 7, town="west"))
    batches = [each.processor(data) for each in (old, moved.encoder)]  # type: ignore[arg-type]
    place = list(old.processor.info()["numeric_columns"]).index("x")
    assert torch.equal(batches[0]["numeric"][:, place], batches[1]["numeric"][:, place])
    assert torch.equal(batches[0]["category"], batches[1]["category"])
    west = moved.encoder.processor(data[:1].assign(town="west"))["category"]  # type: ignore[arg-type]
    assert 5 in west[0].tolist()


def test_dates_keep_their_scale_when_times_of_day_come_or_go() -> None:
    data = frame()
    with_times = data.assign(day=data["day"] + pd.to_timedelta(np.arange(80), unit="h") + pd.Timedelta(days=900))
    for above, below in ((data, with_times), (with_times, data)):
        old = encoder("mlp", above, absent_columns="missing")
        moved = transfer(old, below)
        assert "day" in moved.shared
        for name in ("day.time", "day.week_sin"):
            mine, theirs = (
                each.processor(below)["numeric"][:, list(each.processor.info()["numeric_columns"]).index(name)]  # type: ignore[arg-type]
                for each in (moved.encoder, old)
            )
            assert torch.equal(mine, theirs)
    assert "day.day_sin" in transfer(encoder("mlp", data), with_times).encoder.processor.info()["numeric_columns"]


def test_a_column_of_another_kind_is_a_new_one() -> None:
    data = frame()
    moved = transfer(encoder("mlp", data), data.assign(size=np.arange(80.0)))
    assert moved.new == ("size",)
    assert "size" in moved.gone


def test_transfer_leaves_the_old_encoder_and_the_random_state_as_they_were(tmp_path: Any) -> None:
    data = frame()
    old = encoder("ft-transformer", data)
    before = {key: value.clone() for key, value in old.state_dict().items()}
    below, state = data.rename(columns={"z": "w"}), torch.get_rng_state()
    first, second, other = (transfer(old, below, seed=seed).encoder for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in old.state_dict().items())
    assert first.digest() == second.digest() != other.digest()
    first.save(tmp_path / "moved")
    assert selfsup.load(tmp_path / "moved").digest() == first.digest()
    assert first.metadata["shared_columns"] == list(transfer(old, below).shared)


def test_what_cannot_be_carried_over_is_refused() -> None:
    old = encoder("mlp", frame())
    with pytest.raises(ColumnError, match=r"No column of .* \(p\) is in the encoder's table \(x, y"):
        transfer(old, pd.DataFrame({"p": np.arange(9.0)}))

    class Wide(Backbone):
        modality = "tabular"
        embed_dim = 2

        def __init__(self, n: int) -> None:
            super().__init__()
            self.layer = nn.Linear(n, 2)

        def forward(self, batch: Any) -> Any:
            return self.layer(batch["numeric"])

    plan = old.processor.plan  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"Wide cannot be transferred.*'layer\.weight'"):
        carry_over(Wide(3), Wide(4), match_cells(plan, plan))


def test_supervised_transfer_helps_where_labels_are_few(tmp_path: Any) -> None:
    above = frame(300, seed=1)
    above["outcome"] = above["town"].map({"north": "a", "east": "b", "south": "c"})
    above = above.drop(columns="town")
    run = selfsup.pretrain(
        "tabular/supervised-transfer", above, label="outcome", out=tmp_path / "run", steps=80, batch_size=64,
        lr=3e-3, precision="32", progress=False, overrides={"backbone.dim": 32},
    )  # fmt: skip
    below = frame(200, seed=2).drop(columns="z").assign(new=np.arange(200.0) % 7)
    below["outcome"] = below.pop("town")
    moved = transfer(run.encoder, below, label="outcome")
    assert "outcome" not in moved.encoder.processor.info()["category_columns"]
    fresh = encoder("mlp", below.drop(columns="outcome"))
    scores = []
    for each in (moved.encoder, fresh):
        (record,) = selfsup.evaluate(each, below, label="outcome", evaluators=["knn"], options={"knn": {"k": 5}})
        scores.append(record.metrics["accuracy"])
    assert scores[0] > scores[1]


def test_transfer_on_the_command_line(tmp_path: Any) -> None:
    encoder("mlp", frame()).save(tmp_path / "old")
    frame(30).assign(outcome="yes").rename(columns={"z": "w"}).to_csv(tmp_path / "new.csv", index=False)
    options = ["--data", str(tmp_path / "new.csv"), "--label", "outcome", "--out", str(tmp_path / "moved"), "--json"]
    result = CliRunner().invoke(command, [str(tmp_path / "old"), *options], catch_exceptions=False)
    document = json.loads(result.stdout)
    assert (document["new"], document["gone"]) == (["w"], ["z"])
    assert selfsup.load(tmp_path / "moved").embed_dim == 12
