"""A tower a part."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.artifacts.loading import without_first_weights
from selfsup.backbones import fit_weights
from selfsup.batch_parts import only_part
from selfsup.errors import ConfigError, UnknownIdError
from selfsup.registry import registry
from selfsup.types import Batch, Info
from selfsup_multimodal.backbones.towers import Towers

SMALL: dict[str, Any] = {
    "towers": {
        "left": {"options": {"dim": 16}},
        "right": {"backbone": "sequence/conv", "options": {"dim": 24}, "lr_scale": 0.1},
    },
    "joint_dim": 8,
}


def towers(info: Info, **options: Any) -> Towers:
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone("towers", {**SMALL, **options}, info)
    assert isinstance(backbone, Towers)
    return backbone


def test_each_part_has_its_backbone_and_the_default_is_its_modalitys(info: Info) -> None:
    backbone = towers(info)
    assert backbone.part("right").embed_dim == 24
    assert type(backbone.part("left")).__name__ == "IdTransformer"
    assert backbone.part_options("left") == ("sequence/transformer", {"dim": 16, "depth": 2, "heads": 2, "causal": False})
    assert backbone.part_options("right") == ("sequence/conv", {"dim": 24})
    assert backbone.part_dims == {"left": 8, "right": 8}
    assert backbone.pooled_dim == 8
    assert backbone.shares_space
    assert backbone.lr_scales() == [(backbone.towers["right"], 0.1)]
    with pytest.raises(ConfigError, match="its parts are left, right"):
        backbone.part("middle")


def test_the_row_is_the_mean_of_what_it_has(info: Info, batch: Batch) -> None:
    backbone = towers(info).eval()
    encoded = backbone(batch)
    left, right = encoded.parts["left"].pooled, encoded.parts["right"].pooled
    assert torch.equal(encoded.pooled[3], right[3])
    assert torch.equal(encoded.pooled[0], left[0])
    torch.testing.assert_close(encoded.pooled[1], (left[1] + right[1]) / 2)
    assert encoded.parts["right"].valid.tolist() == batch["right/present"].tolist()
    alone = backbone(only_part(batch, "right"))
    torch.testing.assert_close(alone.pooled, right)
    assert alone.valid.tolist() == batch["right/present"].tolist()


def test_a_part_is_its_tower_and_a_projection_without_bias(info: Info, batch: Batch) -> None:
    backbone = towers(info).eval()
    own = {"sequence": batch["right/sequence"]}
    projection = backbone.projections["right"]
    wanted = backbone.part("right")(own).pooled @ projection.weight.T
    there = batch["right/present"]
    torch.testing.assert_close(backbone(batch).parts["right"].pooled[there], wanted[there])
    assert projection.bias is None
    wide = towers(info, joint_dim=4000).projections["right"]
    assert float(wide.weight.detach().std()) == pytest.approx(24**-0.5, rel=0.02)


def test_batch_norm_never_sees_what_stands_for_an_absent_part(info: Info, batch: Batch) -> None:
    changed = {key: value.clone() for key, value in batch.items()}
    changed["right/sequence"][~batch["right/present"]] = 1e6
    clean, other = towers(info), towers(info)
    a, b = clean(batch), other(changed)
    torch.testing.assert_close(a.pooled, b.pooled)
    for name, value in clean.named_buffers():
        torch.testing.assert_close(value, other.get_buffer(name))


def test_without_a_joint_space_the_parts_lie_side_by_side(info: Info, batch: Batch) -> None:
    backbone = towers(info, joint_dim=0).eval()
    encoded = backbone(batch)
    assert not backbone.shares_space
    assert backbone.part_dims == {"left": 16, "right": 24}
    assert encoded.pooled.shape == (10, backbone.pooled_dim) == (10, 40)
    assert not encoded.pooled[3, :16].any()
    assert not encoded.pooled[0, 16:].any()
    assert encoded.pooled[1, :16].any()
    assert encoded.pooled[1, 16:].any()


def test_a_frozen_tower_stays_as_it_is(info: Info, batch: Batch) -> None:
    options = {**SMALL["towers"]["right"], "lr_scale": 1.0, "frozen": True}
    backbone = towers(info, towers={**SMALL["towers"], "right": options}).train()
    before = {name: value.clone() for name, value in backbone.part("right").state_dict().items()}
    backbone(batch).pooled.sum().backward()
    assert not any(parameter.requires_grad for parameter in backbone.part("right").parameters())
    assert backbone.projections["right"].weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in backbone.part("right").state_dict().items())
    assert backbone.part("left").training
    assert not backbone.part("right").training


def test_saved_options_are_in_full_and_know_nothing_of_training(info: Info) -> None:
    right = {**SMALL["towers"]["right"], "lr_scale": 1.0, "frozen": True}
    _, options = registry().build_backbone("towers", {"towers": {"right": right}}, info)
    left = {"backbone": "sequence/transformer", "options": {"dim": 32, "depth": 2, "heads": 2, "causal": False}}
    training = {"lr_scale": 1.0, "frozen": False}
    assert options.model_dump() == {
        "towers": {
            "left": {**left, **training},
            "right": {"backbone": "sequence/conv", "options": {"dim": 24}, **training},
        },
        "joint_dim": 256,
    }


def test_blocks_are_counted_from_the_output(info: Info) -> None:
    assert towers(info).blocks() == []  # the convolutions are no blocks
    deep = {"left": {"options": {"depth": 3, "dim": 16}}, "right": {"options": {"depth": 1, "dim": 16}}}
    backbone = towers(info, towers=deep)
    left, right = backbone.part("left").blocks(), backbone.part("right").blocks()
    assert [list(level) for level in backbone.blocks()] == [[left[0]], [left[1]], [left[2], right[0]]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"towers": {"middle": {}}}, "backbone.towers.middle names no part of these rows; their parts are left, right"),
        ({"towers": {"left": {"backbone": "fusion"}}}, "for multimodal, but the modality of the part 'left' is sequence"),
        ({"towers": {"left": {"options": {"width": 3}}}}, "width"),
        ({"towers": {"left": {"frozen": True, "lr_scale": 0.1}}}, "lr_scale=0.1 has no effect, because the tower is frozen"),
    ],
)
def test_wrong_options_are_named(info: Info, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry().build_backbone("towers", options, info)


def test_a_modality_that_is_not_installed_is_named(info: Info) -> None:
    parts = {**info["parts"], "smell": {"modality": "smell", "info": {}}}
    with pytest.raises(UnknownIdError, match="smell"):
        registry().build_backbone("towers", {}, {"parts": parts})


@pytest.mark.parametrize("name", ["keys", "training", "a.b", ""])
def test_names_that_no_network_can_have_are_refused(info: Info, name: str) -> None:
    with pytest.raises(ConfigError, match="another name"):
        registry().build_backbone("towers", {}, {"parts": {name: info["parts"]["left"]}})


def test_rows_without_parts_are_refused() -> None:
    with pytest.raises(ConfigError, match="no parts"):
        registry().build_backbone("towers", {}, {})


def test_a_batch_without_any_part_is_refused(info: Info, batch: Batch) -> None:
    with pytest.raises(ConfigError, match="none of the towers' parts: left, right"):
        towers(info)({"sequence": batch["left/sequence"]})


def test_weights_of_the_whole_reach_every_tower(info: Info) -> None:
    ours, theirs = towers(info), towers(info, joint_dim=8)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(1)
    told: list[list[str]] = []
    ours.part("left").weights_came = told.append
    report = fit_weights(ours, theirs.state_dict(), "elsewhere")
    assert report.share == 1.0
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert ours.part("left").started_from == ours.part("right").started_from == "elsewhere"
    assert sorted(told[0]) == sorted(ours.part("left").state_dict())


def test_a_towers_weight_of_another_shape_is_fitted_by_the_tower(info: Info) -> None:
    backbone = towers(info)
    seen: list[str] = []
    backbone.part("right").fit_weight = lambda name, weight, own: seen.append(name)
    backbone.fit_weight("towers.right.norms.0.weight", torch.zeros(3), torch.zeros(4))
    assert seen == ["norms.0.weight"]
    assert backbone.fit_weight("projections.right.weight", torch.zeros(3), torch.zeros(4)) is None


def test_what_pretrained_towers_were_trained_with_comes_along() -> None:
    if "vision" not in registry().modalities:
        pytest.skip("vision is not installed")
    recipe = registry().backbone_recipe("towers")
    seen = {"backbone": "timm/vit_small_patch16_224", "options": {"pretrained": True}}
    config = recipe.config(towers={"front": seen, "back": {"backbone": "resnet-narrow"}, "text": {}})
    assert recipe.preprocessing(config)["options"].keys() == {"front"}
    assert recipe.preprocessing(config)["options"]["front"]["image_size"] == 224
    assert recipe.preprocessing(recipe.config()) == {}


def test_options_say_nothing_of_first_weights_once_there_are_others() -> None:
    options = {"towers": {"vision": {"backbone": "timm/x", "options": {"pretrained": True, "width": 3}}}, "joint_dim": 8}
    assert without_first_weights(options) == {
        "towers": {"vision": {"backbone": "timm/x", "options": {"width": 3}}},
        "joint_dim": 8,
    }
