"""Masked autoencoding of all parts at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.types import Batch, Info
from selfsup_multimodal.backbones.fusion import Fusion
from selfsup_multimodal.tasks.cav_mae import CAVMAEConfig
from selfsup_multimodal.tasks.mae import JointMAE, JointMAEConfig, build_joint_mae, by_part


def task_of(info: Info, **options: Any) -> JointMAE:
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone("fusion", {"dim": 24, "depth": 1, "heads": 2}, info)
    config = JointMAEConfig(**{"decoder_depth": 1, "mask_ratios": {"right": 0.5}, "weights": {"left": 0.1}, **options})
    return build_joint_mae(config, backbone, info).double()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_each_part_is_masked_by_its_own_share(info: Info, batch: Batch) -> None:
    task = task_of(info)
    tokens = task.backbone.tokenize(batch)
    masks = task.draw_masks(tokens, generator())
    real = (~batch["left/padding"]).sum(dim=1)
    there = batch["left/present"]
    assert torch.equal(masks["left"].mask.sum(dim=1)[there], (real * 0.75).ceil().long()[there])
    assert masks["left"].mask[3].sum() == 0  # it lacks the part
    assert masks["right"].mask.sum(dim=1).tolist() == [0 if row in (0, 7) else 8 for row in range(10)]


def test_loss_by_hand_in_float64(info: Info, batch: Batch) -> None:
    task = task_of(info)
    output = task(batch, generator())
    tokens = task.backbone.tokenize(batch)
    masks = task.draw_masks(tokens, generator())
    wanted: list[torch.Tensor] = []
    decoded = decode_row_by_row(task, tokens, masks)
    for name, weight in (("left", 0.1), ("right", 1.0)):
        begin, end = tokens.spans[name]
        own = {"sequence": batch[f"{name}/sequence"]}
        tokenizer = task.backbone.tokenizer(name)
        targets, losses = tokenizer.targets(own), []
        for row in range(10):
            for place in range(end - begin):
                if not masks[name].mask[row, place]:
                    continue
                predicted, target = task.heads[name](decoded[row][begin + place]), targets[row, place]
                if name == "left":
                    losses.append(predicted.exp().sum().log() - predicted[int(target)])
                else:
                    target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
                    losses.append((predicted - target).square().mean())
        wanted.append(weight * torch.stack(losses).mean())
        assert float(output.metrics[f"{name}_loss"]) == pytest.approx(float(wanted[-1].detach()) / weight, rel=1e-6)
    assert_same_loss(task, output.loss, torch.stack(wanted).sum())


def decode_row_by_row(task: JointMAE, tokens: Any, masks: Any) -> list[torch.Tensor]:
    """[N, dim] a row: its kept real tokens alone through the network, then all of its real tokens through the decoder."""
    positions = task._positions(tokens, task.to_decoder.out_features)
    hidden = torch.cat([masks[name].mask for name in tokens.spans], dim=1)
    rows = []
    for row in range(len(hidden)):
        real = ~tokens.padding[row]
        kept = (real & ~hidden[row]).nonzero().flatten()
        x = (tokens.embeddings + tokens.positions)[row, kept]
        encoded = task.to_decoder(task.backbone.transformer(x.unsqueeze(0)))[0]
        full = task.mask_token.expand(len(real), -1).clone().index_put((kept,), encoded) + positions
        out = torch.zeros_like(full).index_put((real.nonzero().flatten(),), task.decoder(full[real].unsqueeze(0))[0])
        rows.append(out)
    return rows


def test_hidden_tokens_are_not_seen(info: Info, batch: Batch) -> None:
    task = task_of(info)
    tokens = task.backbone.tokenize(batch)
    masks = task.draw_masks(tokens, generator())
    kept = gather_tokens(tokens.padding, torch.cat([masks["left"].keep, masks["right"].keep + tokens.spans["right"][0]], dim=1))
    assert kept.shape[1] < tokens.padding.shape[1]
    changed = {**batch, "left/sequence": torch.where(masks["left"].mask, 0, batch["left/sequence"])}
    before, after = task(batch, generator()), task(changed, generator())
    torch.testing.assert_close(before.metrics["right_loss"], after.metrics["right_loss"])
    assert before.metrics["left_loss"] != after.metrics["left_loss"]


def test_options_go_by_part_then_by_modality() -> None:
    parts = {"front": "sequence", "back": "sequence"}
    assert by_part({"sequence": 0.5, "back": 0.2}, parts, 1.0, "x") == {"front": 0.5, "back": 0.2}
    with pytest.raises(ConfigError, match=r"x\.side names no part of these rows .*; the parts are front, back\. Name one"):
        by_part({"side": 1.0}, parts, 1.0, "x")


def test_an_option_of_a_modality_that_no_part_is_of_is_refused(info: Info) -> None:
    for options in ({"mask_ratios": {"text": 0.5}}, {"weights": {"text": 0.5}}):
        with pytest.raises(ConfigError, match=r"\.text names no part of these rows"):
            task_of(info, **options)


def test_the_weight_of_one_part_leaves_the_usual_one_of_texts(info: Info) -> None:
    config = JointMAEConfig(weights={"vision": 2.0})
    assert config.weights == {"text": 0.1, "vision": 2.0}
    assert JointMAEConfig(weights={"text": 1.0}).weights == {"text": 1.0}
    assert CAVMAEConfig(weights={"vision": 2.0}).weights == {"vision": 2.0}
    assert task_of(info, weights={"left": 0.2}).weights == {"left": 0.2, "right": 1.0}


def test_a_share_must_leave_something(info: Info) -> None:
    with pytest.raises(ConfigError, match=r"mask_ratios of right is 1\.0"):
        task_of(info, mask_ratios={"right": 1.0})


def test_towers_have_no_tokens_to_hide(info: Info) -> None:
    backbone, _ = registry().build_backbone("towers", {}, info)
    with pytest.raises(ConfigError, match="take fusion"):
        build_joint_mae(JointMAEConfig(), backbone, info)
    assert not isinstance(backbone, Fusion)
