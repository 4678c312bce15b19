"""Masked autoencoding with a contrast between the parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from selfsup.registry import registry
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.types import Batch, Info
from selfsup_multimodal.tasks.cav_mae import CAVMAE, CAVMAEConfig, build_cav_mae


def task_of(info: Info, **options: Any) -> CAVMAE:
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone("fusion", {"dim": 24, "depth": 2, "heads": 2}, info)
    return build_cav_mae(CAVMAEConfig(decoder_depth=1, **options), backbone, info).double()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("ignore", [True, False])
def test_contrast_by_hand_in_float64(info: Info, batch: Batch, ignore: bool) -> None:
    task, without = (task_of(info, contrast_weight=weight, ignore_duplicates=ignore) for weight in (0.5, 0.0))
    output, plain = task(batch, generator()), without(batch, generator())
    tokens = task.backbone.tokenize(batch)
    masks = task.draw_masks(tokens, generator())
    rows = [row for row in range(10) if row not in (0, 3, 7)]  # those that have both parts
    means = {}
    for name, (begin, end) in tokens.spans.items():
        own = []
        for row in rows:
            seen = ~masks[name].mask[row] & ~tokens.padding[row, begin:end]
            x = (tokens.embeddings + tokens.positions)[row, begin:end][seen]
            own.append(task.backbone.transformer(x.unsqueeze(0))[0].mean(dim=0))
        means[name] = F.normalize(torch.stack(own), dim=1)
    logits = means["left"] @ means["right"].T / 0.05
    if ignore:  # rows 1 and 2 hold the same on the left
        logits = logits.clone()
        logits[0, 1] = logits[1, 0] = -torch.inf
    target = torch.arange(len(rows))
    wanted = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert float(output.metrics["contrast_loss"]) == pytest.approx(wanted.item(), rel=1e-6)
    assert_same_loss(task, output.loss - recomputed(task, batch), 0.5 * wanted)
    assert (output.loss - plain.loss).item() == pytest.approx(0.5 * wanted.item(), rel=1e-6)
    assert task.couples_samples
    assert not without.couples_samples


def recomputed(task: CAVMAE, batch: Batch) -> torch.Tensor:
    """What is reconstructed, of the same draws."""
    tokens = task.backbone.tokenize(batch)
    masks = task.draw_masks(tokens, generator())
    keep = torch.cat([masks[name].keep + begin for name, (begin, _) in tokens.spans.items()], dim=1)
    return task.mean_losses(task.reconstruct(batch, tokens, masks, keep, task.backbone.encode(tokens, keep=keep))).loss


def test_defaults_are_the_papers() -> None:
    config = CAVMAEConfig()
    assert (config.mask_ratio, config.contrast_weight, config.temperature, config.weights) == (0.75, 0.01, 0.05, {})
