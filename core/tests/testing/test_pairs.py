"""The toy whose rows join two sequences: processor, views, backbones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from selfsup.backbones import Backbone, TokenBackbone, freeze, pooled_over_parts, unfreeze
from selfsup.backbones.base import Encoded
from selfsup.batch_parts import part_names, part_of, presence
from selfsup.data import load_source
from selfsup.errors import BadRowError, ColumnError, ConfigError
from selfsup.registry import registry
from selfsup.testing.toy.pairs.processor import PairProcessor, PairProcessorConfig
from selfsup.testing.toy.pairs.rows import mock_rows, pair_rows
from selfsup.testing.toy.pairs.views import VIEWS
from selfsup.testing.toy.sequences.installed import installed


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("plugin")):
        yield


@pytest.fixture
def processor() -> PairProcessor:
    return PairProcessor(PairProcessorConfig()).fit(mock_rows(40, 0))


def build(processor: PairProcessor, id_: str = "towers", **options: object) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return registry().build_backbone(f"sequence-pair/{id_}", options, processor.info())[0]


def test_a_fifth_of_the_rows_lack_one_of_the_sequences() -> None:
    lacking = [[key for key, value in row.items() if value is None] for row in pair_rows(200, 0)]
    assert sum(map(len, lacking)) == 40
    assert lacking[3] == ["first/sequence"]
    assert lacking[8] == ["second/sequence"]
    assert not any(None in row.values() for row in pair_rows(200, 0, lacking=False))


def test_processor_round_trip(processor: PairProcessor, tmp_path: Path) -> None:
    processor.save(tmp_path)
    again = PairProcessor.load(tmp_path)
    assert again.info() == processor.info()
    assert list(again.parts) == ["first", "second"]
    assert again.parts["second"].info()["vocabulary"] == processor.info()["parts"]["second"]["info"]["vocabulary"]
    with pytest.raises(BadRowError, match="neither"):
        processor.encode({"first/sequence": None})


def test_a_part_of_a_batch_is_the_batch_of_that_part(processor: PairProcessor) -> None:
    rows = [row for row in mock_rows(20, 1) if row["second/sequence"] is not None]
    batch = processor(rows)
    alone = processor.parts["second"]([{"sequence": row["second/sequence"]} for row in rows])
    joined = part_of(batch, "second")
    assert joined.keys() == alone.keys()
    assert all(torch.equal(joined[key], alone[key]) for key in alone)
    present = presence(batch, "first")
    assert present is not None
    assert present.tolist() == [row["first/sequence"] is not None for row in rows]


def test_columns_are_found_by_name_and_order() -> None:
    modality = registry().get("modality", "sequence-pair")
    columns = {"b": [[1, 2]], "a": [[3, 4]], "note": ["x"]}
    found = load_source(columns, modality=modality)
    assert dict(found.columns) == {"first/sequence": "b", "second/sequence": "a"}
    named = load_source(columns, modality=modality, columns={"second/sequence": "b"})
    assert dict(named.columns) == {"first/sequence": "a", "second/sequence": "b"}
    with pytest.raises(ColumnError, match="no column for second/sequence"):
        load_source({"b": [[1, 2]]}, modality=modality)


def test_a_view_is_a_part(processor: PairProcessor) -> None:
    views = VIEWS.build(VIEWS.config(noise=0.0), processor.info())
    batch = processor(mock_rows(10, 1))
    made = views(batch, torch.Generator().manual_seed(0))
    assert [part_names(view) for view in made] == [("first",), ("second",)]
    assert all(torch.equal(view[key], batch[key]) for view in made for key in view)
    with pytest.raises(ValueError, match="n_global"):
        VIEWS.config(n_global=3)


@pytest.mark.parametrize(
    ("id_", "dims", "width"), [("towers", [32, 32], 32), ("separate", [24, 32], 56), ("fusion", [32, 32], 32)]
)
def test_one_embedding_of_the_parts_that_are_there(processor: PairProcessor, id_: str, dims: list[int], width: int) -> None:
    backbone, batch = build(processor, id_).eval(), processor(mock_rows(10, 1))
    encoded = backbone(batch)
    assert list(backbone.part_dims.values()) == dims
    assert encoded.pooled.shape == (10, width)
    assert backbone.pooled_dim == width
    assert encoded.parts is not None
    first, second = (encoded.parts[name] for name in ("first", "second"))
    assert first.pooled.shape == (10, dims[0])
    if backbone.shares_space:
        torch.testing.assert_close(encoded.pooled[3], second.pooled[3])
        torch.testing.assert_close(encoded.pooled[8], first.pooled[8])
        torch.testing.assert_close(encoded.pooled[0], (first.pooled[0] + second.pooled[0]) / 2)
    else:
        assert encoded.pooled[3, : dims[0]].abs().max() == 0
        torch.testing.assert_close(encoded.pooled[3, dims[0] :], second.pooled[3])


def test_a_part_of_towers_is_a_backbone_of_its_own_modality(processor: PairProcessor) -> None:
    towers = build(processor)
    tower = towers.part("second")
    id_, options = towers.part_options("second")
    again, _ = registry().build_backbone(id_, options, processor.info()["parts"]["second"]["info"])
    again.load_state_dict(tower.state_dict())
    assert again.modality == "sequence"
    with pytest.raises(ConfigError, match="no network of its own for the part 'third'; its parts are first, second"):
        towers.part("third")
    with pytest.raises(ConfigError, match="no network of its own for the part 'first'"):
        build(processor, "fusion").part("first")


def test_tokens_of_a_sequence_that_is_not_there_are_padding(processor: PairProcessor) -> None:
    fusion, batch = build(processor, "fusion"), processor(mock_rows(10, 1))
    assert isinstance(fusion, TokenBackbone)
    tokens = fusion.tokenize(batch)
    n_first = batch["first/sequence"].shape[1]
    assert tokens.padding is not None
    assert tokens.padding[3, :n_first].all()
    assert tokens.padding[8, n_first:].all()
    assert not tokens.padding.all(dim=1).any()
    assert int(fusion.targets(batch).max()) < fusion.target_dim


def test_pooling_in_one_space_and_in_several() -> None:
    a, b = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0], [7.0, 8.0]])
    there = torch.tensor([True, False])
    parts = {"a": Encoded(a), "b": Encoded(b, valid=there)}
    assert pooled_over_parts(parts, shares_space=True).tolist() == [[3.0, 4.0], [3.0, 4.0]]
    assert pooled_over_parts(parts, shares_space=False).tolist() == [[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 0.0, 0.0]]
    nothing = {"a": Encoded(a, valid=~there), "b": Encoded(b, valid=there)}
    assert pooled_over_parts(nothing, shares_space=True).tolist() == [[5.0, 6.0], [3.0, 4.0]]
    assert pooled_over_parts({"b": parts["b"]}, shares_space=True) is b


def test_a_frozen_part_stays_in_evaluation_mode(processor: PairProcessor) -> None:
    from copy import deepcopy

    towers = build(processor, frozen=("first",))
    for network in (towers, deepcopy(towers)):
        network.train()
        assert [module.training for module in network.part("first").modules()] == [False] * 8
        assert network.part("second").training
        assert not any(parameter.requires_grad for parameter in network.part("first").parameters())
        network.eval()
        assert not network.part("second").training
    unfreeze(towers)
    assert all(parameter.requires_grad for parameter in towers.parameters())
    assert all(module.training for module in towers.train().modules())
    freeze(towers.part("second"))
    assert all(module.training for module in deepcopy(towers).train().part("first").modules())
