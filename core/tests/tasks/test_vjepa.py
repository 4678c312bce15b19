from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.backbones import Tokens
from selfsup.errors import ConfigError
from selfsup.tasks.latent.ijepa import IJEPA, IJEPAConfig, jepa_loss
from selfsup.tasks.latent.vjepa import VJEPA, VJEPAConfig, vjepa_recipe
from selfsup.tasks.parts.block_masking import multi_block_mask
from selfsup.tasks.parts.transformer import lattice_positions
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.backbones import SequenceConv, SequenceConvConfig
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info

KINDS: tuple[Kind, ...] = ("ids", "frames")


def vjepa(kind: Kind, **options: Any) -> VJEPA:
    torch.manual_seed(0)
    return VJEPA(VJEPAConfig(**{"predictor_depth": 2, **options}), toy_backbone(kind))


def norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("kind", KINDS)
def test_vjepa_loss_by_hand_in_float64(kind: Kind) -> None:
    task, batch = vjepa(kind).double(), toy_batch(kind)
    with torch.no_grad():
        for parameter in task.teacher.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator(7)))
    B, N = batch["sequence"].shape[:2]
    drawing = generator(3)
    positions = lattice_positions((N,), task.predictor.dim, torch.device("cpu"))
    losses = []
    for n_blocks, scale, share, predicted in ((8, 0.15, 0.2, 0.6), (2, 0.7, 0.1, 0.8)):
        mask = multi_block_mask(
            B, (N,), n_targets=n_blocks, target_scale=(scale, scale), target_aspect=(0.75, 1.5), context_scale=None,
            context_share=share, min_context=4, union_share=predicted, padding=batch.get("padding"), generator=drawing,
        )  # fmt: skip
        errors = []
        for i in range(B):
            length = int((~batch["padding"][i]).sum()) if "padding" in batch else N
            sample = {"sequence": batch["sequence"][i : i + 1, :length]}
            teacher = task.teacher.module
            target = norm(teacher.encode(teacher.tokenize(sample))[0].detach())
            index = mask.context[i : i + 1]
            known = task.predictor.embed(task.backbone.encode(task.backbone.tokenize(sample), keep=index)) + positions[index]
            wanted = mask.targets[i, 0][mask.weight[i, 0]]
            asked = (task.predictor.mask_token + positions[wanted]).unsqueeze(0)
            mixed = task.predictor.transformer(torch.cat([known, asked], dim=1))[:, known.shape[1] :]
            prediction = task.predictor.out(mixed)[0]
            errors += [(p - target[int(k)]).abs().mean() for p, k in zip(prediction, wanted, strict=True)]
        losses.append(torch.stack(errors).mean())
    assert_same_loss(task, task(batch, generator(3)).loss, torch.stack(losses).mean())


def test_masks_reach_through_time_and_have_the_shares_of_the_paper() -> None:
    task = vjepa("frames", short_range={"target_share": 1.0}, long_range={"target_share": 1.0})
    grid = (4, 12, 12)
    tokens = Tokens(torch.zeros(400, 576, 32), torch.zeros(1, 576, 32), grid)
    short, long = task.draw_masks(tokens, generator())
    covered = []
    for mask, share in ((short, 0.2), (long, 0.1)):
        hidden = torch.zeros(400, 576, dtype=torch.long).scatter_add(1, mask.targets[:, 0], mask.weight[:, 0].long()) > 0
        cells = hidden.view(400, 4, 144)
        assert (cells == cells[:, :1]).all()
        assert mask.context.shape == (400, round(share * 576))
        assert not hidden.gather(1, mask.context).any()
        covered.append(float(hidden.float().mean()))
    # Eight places of 15 % and two of 70 %, were they independent of each other: 0.73 and 0.91. Edges bring them together.
    assert 0.58 < covered[0] < 0.73
    assert 0.75 < covered[1] < 0.91


def test_beta_of_zero_is_the_absolute_error() -> None:
    p, t = (torch.randn(3, 5, 4, dtype=torch.float64, generator=generator(seed)) for seed in (1, 2))
    assert jepa_loss(p, t, None, 0.0).loss.item() == pytest.approx((p - t).abs().mean().item(), abs=1e-12)
    task = IJEPA(IJEPAConfig(beta=0.0, predictor_depth=1), toy_backbone("frames"))
    smooth = IJEPA(IJEPAConfig(predictor_depth=1), toy_backbone("frames"))
    smooth.load_state_dict(task.state_dict())
    batch = toy_batch("frames")
    # |e| lies above smooth L1 everywhere, by one half at the most.
    assert 0 < task(batch, generator()).loss - smooth(batch, generator()).loss < 0.5


def test_vjepa_keeps_the_teacher() -> None:
    task = vjepa("frames")
    assert task.encoder_backbone() is task.teacher.module


def test_vjepa_recipe_has_the_papers_defaults_and_takes_others() -> None:
    config: Any = vjepa_recipe().config()
    assert [(m.n_blocks, m.scale) for m in (config.short_range, config.long_range)] == [(8, 0.15), (2, 0.7)]
    assert (config.beta, config.teacher.start, config.teacher.end, config.predictor_depth) == (0.0, 0.998, 1.0, 12)
    changed: Any = vjepa_recipe(long_range={"n_blocks": 1}).config
    assert changed(long_range={"scale": 0.5}).long_range.model_dump() == {
        "n_blocks": 1, "scale": 0.5, "context_share": 0.1, "target_share": 0.8,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="scale"):
        vjepa_recipe(short_range={"scale": 1.5})
    info = toy_info("ids")
    with pytest.raises(ConfigError, match="SequenceConv has none"):
        vjepa_recipe().build(config, SequenceConv(SequenceConvConfig(), info), info)
