"""The recipes of the plugin's tasks: what they see, and that they train."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.backbones import Backbone
from selfsup.registry import registry
from selfsup.tasks import PretextTask, TaskRecipe
from selfsup.tasks.augmented import AugmentedTask
from selfsup.tasks.latent.ijepa import JointEmbeddingPrediction
from selfsup.tasks.masked.masked_modeling import MAE
from selfsup.tasks.transformation import TransformationPrediction
from selfsup.testing.kit.cases import small_config
from selfsup.testing.kit.task_checks import generator
from selfsup_video.backbones.conv3d import SMALL as CONV
from selfsup_video.backbones.vit import SMALL as VIT
from selfsup_video.task_specs import SPECS

INFO = {"frames": 16, "clips": 1, "image_size": 16, "channels": 3}


def videos(n: int = 4, frames: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (n, frames, 3, 16, 16), dtype=torch.uint8, generator=generator())


def backbone(tokens: bool, info: dict[str, int] | None = None) -> Backbone:
    torch.manual_seed(0)
    if tokens:
        return VIT.build(VIT.config(embed_dim=32, depth=2, heads=2), info or INFO)  # type: ignore[call-arg]  # of the subclass
    return CONV.build(CONV.config(width=4), info or INFO)  # type: ignore[call-arg]  # of the subclass


def build(recipe: TaskRecipe, tokens: bool, info: dict[str, int] | None = None, **overrides: Any) -> PretextTask:
    config = small_config(recipe.config, overrides)
    return recipe.build(config, backbone(tokens, info), info or INFO).train()


def recipe_of(name: str) -> TaskRecipe:
    return registry().task_recipe(registry().get("task", f"video/{name}"))


def test_the_registered_tasks_are_those_of_video() -> None:
    names = ["frame-order", "clip-order", "arrow-of-time", "playback-speed", "cvrl", "videomae", "vjepa"]
    assert [spec.id for spec in SPECS] == [f"video/{name}" for name in names]


def test_videomae_hides_tubes_of_a_crop_of_the_whole_clip() -> None:
    task: Any = build(recipe_of("videomae"), True)
    mae = task.task
    assert isinstance(task, AugmentedTask)
    assert isinstance(mae, MAE)
    assert (mae.mask_ratio, mae.tube, len(mae.decoder.blocks), mae.normalize_targets) == (0.9, True, 4, True)
    config: Any = recipe_of("videomae").config()
    assert (config.views.scale, config.views.flip_p, config.views.frames) == ((0.44, 1.0), 0.0, None)
    seen: list[torch.Tensor] = []
    encode = mae.backbone.encode

    def spy(tokens: Any, *, keep: Any = None) -> torch.Tensor:
        assert tokens.grid == (8, 4, 4)
        seen.append(keep)
        out: torch.Tensor = encode(tokens, keep=keep)
        return out

    mae.backbone.encode = spy
    task({"video": videos()}, generator())
    # One of 16 places stays, at each of 8 times.
    assert seen[0].shape == (4, 8)
    assert torch.equal(seen[0].sort(dim=1).values, (seen[0] % 16)[:, :1] + 16 * torch.arange(8))


def test_vjepa_has_its_papers_masks_and_crops() -> None:
    config: Any = recipe_of("vjepa").config()
    assert [(m.n_blocks, m.scale) for m in (config.short_range, config.long_range)] == [(8, 0.15), (2, 0.7)]
    assert (config.beta, config.views.scale, config.views.ratio, config.views.flip_p) == (0.0, (0.3, 1.0), (0.75, 1.35), 0.5)
    task: Any = build(recipe_of("vjepa"), True, predictor_depth=1)
    assert isinstance(task.task, JointEmbeddingPrediction)
    assert task.encoder_backbone() is task.task.teacher.module


def test_cvrl_draws_near_windows_more_often_than_far_ones() -> None:
    config: Any = recipe_of("cvrl").config()
    assert config.views.interval == "decreasing"
    assert (config.objective.temperature, recipe_of("cvrl").optimization["base_lr"]) == (0.1, 0.08)
    task: Any = build(recipe_of("cvrl"), False)
    frames = (torch.arange(16) * 10).to(torch.uint8).view(1, 16, 1, 1, 1).expand(1500, -1, 3, 16, 16)
    made = build(recipe_of("cvrl"), False, **{
        "views.jitter_p": 0.0, "views.grey_p": 0.0, "views.blur_p": 0.0
    }).views({"video": frames}, generator())  # type: ignore[operator]  # fmt: skip
    first, second = ((view["video"][:, 0, 0, 0, 0] * 25.5).round() for view in made)
    assert task.views.n_global == len(made) == 2
    counts = torch.bincount((first - second).abs().long(), minlength=9)
    assert (counts[1:].diff() <= 30).all(), "the share of a distance does not fall with it"
    assert counts[1:4].sum() > 1.7 * counts[5:8].sum()


@pytest.mark.parametrize("name", ["frame-order", "clip-order", "arrow-of-time", "playback-speed"])
def test_orders_are_told_from_a_crop_that_is_alike_in_all_frames(name: str) -> None:
    task: Any = build(recipe_of(name), False, **{"views.scale": (0.3, 0.5)})
    assert isinstance(task.task, TransformationPrediction)
    still = videos()[:, :1].expand(-1, 16, -1, -1, -1)
    view = task.augmentation({"video": still}, generator())[0]["video"]
    torch.testing.assert_close(view, view[:, :1].expand_as(view))
    assert not torch.allclose(view[:, 0], still[:, 0] / 255)
    assert task.task.transformation({"video": view}, generator()).batch["video"].shape[2:] == (3, 16, 16)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("overrides", [
    {"transformation.apart": True}, {"transformation.mode": "verification"},
    {"transformation.apart": True, "transformation.mode": "verification"},
])  # fmt: skip
def test_frame_order_trains_in_all_its_modes(tokens: bool, overrides: dict[str, Any]) -> None:
    task: Any = build(recipe_of("frame-order"), tokens, **overrides)
    output = task({"video": videos()}, generator())
    output.loss.backward()
    outputs, parts = task.task.out.out_features, task.task.out.in_features // task.backbone.pooled_dim
    assert (outputs, parts) == (
        2 if "transformation.mode" in overrides else 12, 4 if "transformation.apart" in overrides else 1,
    )  # fmt: skip


def test_videomae_targets_of_grey_videos_hold_no_constant() -> None:
    """With ImageNet's offsets of channels in the targets, most of their energy says which channel a number belongs to."""
    task: Any = build(recipe_of("videomae"), True)
    noise = torch.randn(4, 16, 1, 16, 16, generator=generator())
    seen: list[torch.Tensor] = []
    loss = task.backbone.target_loss

    def spy(prediction: Any, target: Any, index: Any, **options: Any) -> Any:
        seen.append(target)
        return loss(prediction, target, index, **options)

    task.backbone.target_loss = spy
    task({"video": (0.5 + 0.1 * noise).clamp(0, 1).expand(-1, -1, 3, -1, -1)}, generator())
    (target,) = seen
    constant = target.mean(dim=(0, 1))
    assert float(constant.square().sum() / target.square().sum(dim=-1).mean()) < 0.02
    channels = target.unflatten(-1, (-1, 3))
    torch.testing.assert_close(channels.mean(dim=-2), torch.zeros_like(channels[..., 0, :]), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.var(dim=-2), torch.ones_like(channels[..., 0, :]), atol=1e-2, rtol=0)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_every_video_task_trains_on_two_clips_of_short_videos_and_sees_only_real_frames(spec: Any) -> None:
    depth = {"predictor_depth": 1} if spec.id == "video/vjepa" else {}
    info = {**INFO, "clips": 2}
    length = torch.tensor([3, 5, 16, 13, 1, 8])
    behind = (torch.arange(16) >= length.view(-1, 1)).repeat(1, 2)
    losses = []
    for fill in (0, 255):
        task = build(registry().task_recipe(spec), spec.needs_tokens, info, **depth).eval()
        filled = videos(6, 32).masked_fill(behind.view(6, 32, 1, 1, 1), fill)
        output = task({"video": filled, "length": length}, generator(1))
        output.loss.backward()
        task.after_backward(0.5)
        assert not [name for name, p in task.named_parameters() if p.requires_grad and (p.grad is None or p.grad.isnan().any())]
        losses.append(output.loss)
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-4)
    if spec.family == "transformation":
        output = build(registry().task_recipe(spec), False)({"video": videos(2), "length": torch.tensor([1, 1])}, generator())
        assert (output.loss.item(), output.weight.item(), output.metrics["left_out"].item()) == (0, 0, 1)
