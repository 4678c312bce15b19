"""Views of joined rows, and their raw features."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.batch_parts import only_part, part_of
from selfsup.errors import ConfigError
from selfsup.registry import ModalityObjects, registry
from selfsup.tasks import ViewsRecipe
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.features import raw_features
from selfsup.testing.toy.sequences.views import VIEWS as SEQUENCE_VIEWS
from selfsup.types import Batch, Info
from selfsup_multimodal import features
from selfsup_multimodal.augmentations import (
    SINGLE_VIEW,
    SUPERVISED_VIEW,
    VIEWS,
    PartViews,
    PartViewsConfig,
)


def windows(parts: ModalityObjects) -> ViewsRecipe | None:
    """As if the toy sequences had views of one sample."""
    return SEQUENCE_VIEWS


def drawn(info: Info, together: bool = False, **options: Any) -> PartViews:
    return PartViews(PartViewsConfig(**options), info, windows, together=together)


def test_a_view_is_a_part(info: Info, batch: Batch) -> None:
    views = VIEWS.build(VIEWS.config(), info)
    assert (views.n_global, views.n_local) == (2, 0)
    left, right = views(batch, generator())
    assert left == only_part(batch, "left")  # the toy has no view of one sample
    assert right == only_part(batch, "right")


def test_each_part_is_drawn_by_its_modality(info: Info, batch: Batch) -> None:
    views = drawn(info, parts={"right": {"global_share": 0.5, "noise": 0.0}})
    left, right = views(batch, generator())
    assert right["right/sequence"].shape == (10, 8, 4)
    assert torch.equal(right["right/present"], batch["right/present"])
    assert torch.equal(left["left/content"], batch["left/content"])
    assert left["left/sequence"].shape[1] < batch["left/sequence"].shape[1]
    again = drawn(info, parts={"right": {"global_share": 0.5, "noise": 0.0}})(batch, generator())
    assert all(torch.equal(left[key], again[0][key]) for key in left)
    other = views(batch, generator(1))
    assert not torch.equal(other[1]["right/sequence"], right["right/sequence"])


def test_crops_are_light_where_parts_are_compared() -> None:
    pytest.importorskip("selfsup_vision")
    described = {"image_size": 32, "channels": 3, "image_range": 1}
    info = {"parts": {name: {"modality": "vision", "info": described} for name in ("front", "back")}}
    shades = torch.linspace(0, 255, 32).to(torch.uint8).expand(64, 3, 32, 32)
    batch = {"front/image": shades, "back/image": shades}

    def widest_loss(views: PartViews) -> float:
        """How much of the width the narrowest crop lost."""
        seen = views(batch, generator())[0]["front/image"].float()
        seen = seen / seen.max()
        spread = (seen[..., -1] - seen[..., 0]).abs().flatten(1).mean(dim=1)
        return float(1 - spread.min())

    compared, alone = VIEWS.build(VIEWS.config(), info), SINGLE_VIEW.build(SINGLE_VIEW.config(), info)
    own = VIEWS.build(VIEWS.config(parts={"front": {"global_scale": (0.2, 0.3)}}), info)
    assert widest_loss(compared) < 0.25
    assert widest_loss(alone) > 0.4
    assert widest_loss(own) > 0.3


def test_nothing_is_drawn_of_blanks(info: Info, batch: Batch) -> None:
    changed = {key: value.clone() for key, value in batch.items()}
    changed["right/sequence"][~batch["right/present"]] = float("nan")
    _, right = drawn(info)(changed, generator())
    assert torch.isfinite(right["right/sequence"]).all()


def test_one_view_holds_all_parts(info: Info, batch: Batch) -> None:
    for recipe in (SINGLE_VIEW, SUPERVISED_VIEW):
        views = recipe.build(recipe.config(), info)
        assert (views.n_global, views.n_local) == (1, 0)
        (view,) = views(batch, generator())
        assert view.keys() >= {"left/sequence", "left/present", "right/sequence", "right/present"}
    whole, window = batch["right/sequence"].shape[1], view["right/sequence"].shape[1]
    assert window == round(0.9 * whole)  # the light augmentation of the toy


def test_parts_can_be_seen_as_they_are(info: Info, batch: Batch) -> None:
    views = drawn(info, augment=False)(batch, generator())
    assert all(value is batch[key] for view in views for key, value in view.items())
    assert PartViewsConfig(augment=False).without_effect() == {"parts": "views.augment is false"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"middle": {}}, "views.parts.middle names no part of these rows; their parts are left, right"),
        ({"left": {"wrong": 1}}, "wrong"),
        ({"left": {"n_global": 2}}, "each part has one view"),
    ],
)
def test_wrong_options_are_named(info: Info, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        drawn(info, parts=parts)


def test_options_of_a_modality_without_views_are_refused(info: Info) -> None:
    with pytest.raises(ConfigError, match="global_share cannot be set for the views of the part 'left': sequence has no such"):
        VIEWS.build(PartViewsConfig(parts={"left": {"global_share": 0.5}}), info)


def test_raw_features_of_parts_count_alike(info: Info, batch: Batch) -> None:
    raw = features.joined(batch, info)
    left = raw_features(part_of(batch, "left"), info["parts"]["left"]["info"])
    width = left.shape[1]
    torch.testing.assert_close(raw[1, :width], left[1] / left[1].norm())
    norms = torch.stack([raw[:, :width].norm(dim=1), raw[:, width:].norm(dim=1)], dim=1)
    there = torch.stack([batch["left/present"], batch["right/present"]], dim=1)
    torch.testing.assert_close(norms, there.float())


def test_raw_features_of_one_modality(info: Info, batch: Batch) -> None:
    parts = {"left": info["parts"]["left"], "right": {**info["parts"]["right"], "modality": "text"}}
    own = features.of_modality(batch, {"parts": parts}, modality="sequence")
    assert own.shape[1] == raw_features(part_of(batch, "left"), info["parts"]["left"]["info"]).shape[1]
    with pytest.raises(ConfigError, match="no part of audio"):
        features.AUDIO(batch, info)
    names = registry().get("modality", "multimodal").other_raw_features
    assert set(names) == {"vision", "text", "audio", "video", "tabular"}
    assert all(callable(registry().modality_objects("multimodal").other_raw_features(name)) for name in names)
