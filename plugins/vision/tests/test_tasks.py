from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.nn import BatchNorm1d, BatchNorm2d

from selfsup.registry import registry
from selfsup.registry.specs import ObjectiveSpec
from selfsup.tasks import TaskRecipe
from selfsup.tasks.composed import compose
from selfsup.tasks.masked.masked_modeling import MAE_FAMILY
from selfsup.testing.kit.cases import small_config
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.training.loop.optimizers import build_optimizer, set_hyperparameters
from selfsup.training.loop.schedule import learning_rate
from selfsup.training.run.config import OptimizationConfig
from selfsup.training.run.resolve import resolve_config
from selfsup_vision.mock import mock_rows
from selfsup_vision.task_specs import SPECS

INFO = {"image_size": 32, "channels": 3}
SMALL = {
    "vit-tiny": {"embed_dim": 32, "depth": 2, "heads": 2}, "resnet-narrow": {"width": 8},
}  # fmt: skip
NARROW = {
    "queue_size": 32, "n_prototypes": 16, "hidden_dim": 32, "bottleneck_dim": 16, "output_dim": 32, "token_dim": 16,
    "n_slices": 16, "decoder_width": 16, "decoder_depth": 1, "predictor_depth": 1, "head_dims": (32,),
}  # fmt: skip
"""Sizes of heads that need not be the paper's here."""


def recipe_of(name: str) -> TaskRecipe:
    return registry().task_recipe(registry().get("task", f"vision/{name}"))


def _backbone(id: str, info: Mapping[str, int] = INFO, **options: Any) -> Any:
    return registry().build_backbone(id, {**SMALL[id], **options}, info)[0]


def _narrow(values: dict[str, Any], prefix: str = "") -> Mapping[str, Any]:
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _narrow(value, f"{prefix}{name}.")
        elif name in NARROW:
            found[f"{prefix}{name}"] = NARROW[name]
    return found


@pytest.mark.parametrize(("number", "spec"), list(enumerate(SPECS)), ids=[spec.id for spec in SPECS])
def test_every_task_takes_whole_images_of_one_three_and_five_channels(number: int, spec: Any) -> None:
    channels = 3 if spec.id == "vision/colorization" else (5, 1)[number % 2]
    info, recipe = {**INFO, "channels": channels}, registry().task_recipe(spec)
    torch.manual_seed(0)
    config = small_config(recipe.config, _narrow(recipe.config().model_dump()))
    task = recipe.build(config, _backbone(spec.backbone, info), info).train()
    assert task.takes_whole
    image = torch.randint(0, 256, (4, channels, 64, 36), dtype=torch.uint8)
    size = torch.tensor([[36, 64], [64, 36], [40, 36], [36, 36]])
    for place, longer in enumerate(size.amax(dim=1).tolist()):
        image[place, :, longer:] = 0
    assert bool(torch.isfinite(task({"image": image, "size": size}, torch.Generator().manual_seed(0)).loss))
    if spec.id in ("vision/simclr", "vision/rotation"):  # one for each kind of views
        with fake_cuda(task, {"image": image, "size": size}) as batch:
            assert task(batch, None).loss.device.type == "cuda"


def test_recipes_carry_their_papers_views() -> None:
    byol, swav, dino, lejepa = (recipe_of(name).config().views for name in ("byol", "swav", "dino", "lejepa"))  # type: ignore[attr-defined]
    assert (byol.blur_p, byol.solarize_p, byol.saturation, byol.hue) == ((1.0, 0.1), (0.0, 0.2), 0.2, 0.1)
    assert (swav.n_local, swav.global_scale, swav.local_scale) == (6, (0.14, 1.0), (0.05, 0.14))
    assert (dino.n_local, dino.global_scale, dino.local_scale, dino.local_blur_p) == (8, (0.4, 1.0), (0.05, 0.4), 0.5)
    assert (lejepa.n_local, lejepa.global_scale, lejepa.local_scale) == (6, (0.3, 1.0), (0.05, 0.3))
    assert recipe_of("simsiam").config().views.global_scale == (0.2, 1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "scale", "flip", "jitter"),
    [("mae", (0.2, 1.0), 0.5, 0.0), ("simmim", (0.67, 1.0), 0.5, 0.0), ("ijepa", (0.3, 1.0), 0.0, 0.0),
     ("data2vec", (0.08, 1.0), 0.5, 1.0)],
)  # fmt: skip
def test_masked_and_latent_tasks_see_their_papers_crop(
    name: str, scale: tuple[float, float], flip: float, jitter: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(name)
    views = recipe.config().views
    assert (views.global_scale, views.ratio, views.flip_p, views.jitter_p) == (scale, (3 / 4, 4 / 3), flip, jitter)
    assert (views.grey_p, views.blur_p, views.solarize_p) == (0.0, (0.0,), (0.0,))
    seen: list[torch.Tensor] = []
    backbone = _backbone("vit-tiny")
    tokenize = backbone.tokenize  # type: ignore[operator]
    monkeypatch.setattr(backbone, "tokenize", lambda batch: seen.append(batch["image"]) or tokenize(batch))
    batch = {"image": torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)}
    whole = batch["image"] / 255
    recipe.build(recipe.config(), backbone, INFO)(batch, torch.Generator().manual_seed(0))
    off = recipe.config(views={"global_scale": (1, 1), "flip_p": 0, "jitter_p": 0})
    recipe.build(off, backbone, INFO)(batch, torch.Generator().manual_seed(0))
    assert float((seen[0] - whole).abs().mean()) > 0.05
    torch.testing.assert_close(seen[-1], whole, atol=1e-5, rtol=0)


def test_a_composed_masked_task_sees_a_crop_too() -> None:
    spec = ObjectiveSpec(id="mae", summary="x", target="a:b", family="masked-modeling", paper="x")
    recipe = compose(spec, MAE_FAMILY, registry().modality_objects("vision"))
    assert recipe.config().views.global_scale == (0.2, 1.0)  # type: ignore[attr-defined]


def test_a_recipe_takes_options_by_section() -> None:
    config = recipe_of("patch-position").config(transformation={"n": 2})
    task = recipe_of("patch-position").build(config, _backbone("resnet-narrow"), INFO)
    assert task.task.transformation.n_outputs == 8  # type: ignore[union-attr]
    assert recipe_of("patch-position").optimization["optimizer"] == "adam"
    assert recipe_of("patch-position").optimization["lr"] == 1e-3


def test_batch_norms_stay_near_one_under_the_optimizer_of_barlow_twins() -> None:
    """With the rate of the weights, norms ran to scales of -2 and 5 within 16 steps, and beyond with wider heads."""
    recipe, steps, batch = recipe_of("barlow-twins"), 12, 64
    config = recipe.config(objective={"hidden_dim": 128, "output_dim": 128}, views={"global_size": 16})
    torch.manual_seed(0)
    task = recipe.build(config, _backbone("resnet-narrow"), INFO).train()
    optimization = OptimizationConfig(**recipe.optimization, batch_size=batch)
    optimizer = build_optimizer(task, optimization)
    images = torch.stack([torch.from_numpy(row["image"]).permute(2, 0, 1) for row in mock_rows(batch, seed=0)])
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        rate = learning_rate(step, steps, peak=optimization.peak_lr(), warmup=optimization.warmup_steps(1))
        set_hyperparameters(optimizer, lr=rate, weight_decay=optimization.weight_decay)
        task({"image": images}, generator).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    norms = [module for module in task.modules() if isinstance(module, BatchNorm1d | BatchNorm2d) and module.affine]
    scales = torch.cat([norm.weight.detach() for norm in norms])
    assert 0.5 < float(scales.min()) < float(scales.max()) < 2
    assert not torch.equal(scales, torch.ones_like(scales))


@pytest.mark.parametrize("frozen", [True, False])
def test_mocov3_freezes_the_patch_projection(frozen: bool) -> None:
    torch.manual_seed(0)
    overrides = {**_narrow(recipe_of("mocov3").config().model_dump()), "objective.freeze_patch_projection": frozen}
    config = small_config(recipe_of("mocov3").config, overrides)
    backbone = _backbone("vit-tiny", depth=1, positions="sin-cos")
    task: Any = recipe_of("mocov3").build(config, backbone, INFO).train()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    optimizer = build_optimizer(task, OptimizationConfig(lr=1e-2, weight_decay=0.5))
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        batch = {"image": torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)}
        optimizer.zero_grad()
        task(batch, generator).loss.backward()
        optimizer.step()
        task.after_step((step + 1) / 3)
    changed = {name for name, value in task.state_dict().items() if not torch.equal(value, before[name])}
    names = {"backbone.model.patch_embed.proj.weight", "backbone.model.patch_embed.proj.bias"}
    assert bool(names & changed) is not frozen
    assert ("momentum.module.backbone.model.patch_embed.proj.weight" in changed) is not frozen
    assert not any("pos_embed" in name for name in changed)
    assert "backbone.model.blocks.0.attn.qkv.weight" in changed


def test_mocov3_trains_all_parameters_of_convolutional_networks() -> None:
    recipe = recipe_of("mocov3")
    config = small_config(recipe.config, _narrow(recipe.config().model_dump()))
    task = recipe.build(config, _backbone("resnet-narrow"), INFO)
    assert all(parameter.requires_grad for parameter in task.backbone.parameters())


def test_mocov3_takes_fixed_positions_where_the_backbone_has_them() -> None:
    def options(task: str, **given: Any) -> dict[str, Any]:
        return resolve_config({"task": task, "data": "somewhere", **given}).backbone_options

    assert options("vision/mocov3")["positions"] == "sin-cos"
    assert options("vision/mocov3", **{"backbone.positions": "learned"})["positions"] == "learned"
    assert options("vision/dino")["positions"] == "learned"
    assert "positions" not in options("vision/mocov3", backbone="resnet-narrow")
