from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.objectives.masked_contrast import masked_contrast, sample_negatives
from selfsup.objectives.parts.quantizer import diversity_loss, usage
from selfsup.tasks.latent.wav2vec2 import Wav2Vec2, scaled_gradient, wav2vec2_recipe
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.backbones import SequenceConv, SequenceConvConfig
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info

KINDS: tuple[Kind, ...] = ("ids", "frames")
SMALL = {"entries": 8, "dim": 16}


def task_of(kind: Kind = "frames", **options: Any) -> Wav2Vec2:
    recipe = wav2vec2_recipe(**{"quantizer": SMALL, "projection_dim": 8, "negatives": 5, **options})
    torch.manual_seed(0)
    task = recipe.build(recipe.config(), toy_backbone(kind), toy_info(kind))
    assert isinstance(task, Wav2Vec2)
    return task


def test_defaults_are_the_papers() -> None:
    options = wav2vec2_recipe().config().model_dump()
    quantizer = options.pop("quantizer")
    assert options == {
        "start_share": 0.065, "span": 10, "negatives": 100, "temperature": 0.1, "projection_dim": 256, "diversity": 0.1,
        "feature_gradient": 0.1,
    }  # fmt: skip
    assert {key: quantizer[key] for key in ("groups", "entries", "dim", "temperature", "final_temperature")} == {
        "groups": 2, "entries": 320, "dim": 256, "temperature": 2.0, "final_temperature": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_put_together_by_hand_in_float64(kind: Kind) -> None:
    task, batch = task_of(kind, diversity=0.3, feature_gradient=1.0).double(), toy_batch(kind)
    found = task(batch, generator(4))
    g = generator(4)
    tokens = task.backbone.tokenize(batch)
    mask = span_mask(8, tokens.grid, 0.065, 10, padding=tokens.padding, generator=g)
    assert mask.weight is not None
    context = gather_tokens(task.backbone.encode(tokens.masked(mask.mask, task.mask_token)), mask.hidden)
    quantized = task.quantizer(gather_tokens(tokens.embeddings, mask.hidden), g)
    negatives = sample_negatives(mask.weight, 5, g)
    contrast = masked_contrast(task.predict(context), task.project(quantized.vectors), quantized.codes, negatives, 0.1)
    real = mask.weight > 0
    contrastive = contrast.loss[real].mean()
    diversity = diversity_loss(usage(quantized.logits.softmax(dim=-1), real))
    assert found.loss.dtype == torch.float64
    assert_same_loss(task, found.loss, contrastive + 0.3 * diversity)
    torch.testing.assert_close(found.metrics["contrastive_loss"], contrastive.detach())
    torch.testing.assert_close(found.metrics["diversity_loss"], diversity.detach())
    assert found.metrics["accuracy"].item() == pytest.approx(contrast.hit[real].double().mean().item())
    assert found.metrics["chance_loss"].item() == pytest.approx(math.log(6))
    assert 1 <= found.metrics["codebook_perplexity"].item() <= 8


def test_what_is_hidden_is_not_seen_by_the_context() -> None:
    task, batch = task_of(), toy_batch("frames")
    tokens = task.backbone.tokenize(batch)
    mask = span_mask(8, tokens.grid, 0.065, 10, generator=generator()).mask
    changed = {**batch, "sequence": torch.where(mask.unsqueeze(-1), batch["sequence"] + 5, batch["sequence"])}
    contexts = [task.backbone.encode(task.backbone.tokenize(each).masked(mask, task.mask_token)) for each in (batch, changed)]
    torch.testing.assert_close(*contexts)


def test_less_gradient_reaches_what_embeds_the_tokens() -> None:
    gradients = []
    for factor in (1.0, 0.1):
        task = task_of(feature_gradient=factor)
        task(toy_batch("frames"), generator()).loss.backward()
        gradients.append(dict(task.named_parameters())["backbone.embedding.weight"].grad)
    torch.testing.assert_close(gradients[1], 0.1 * gradients[0])
    x = torch.randn(5, requires_grad=True)
    assert torch.equal(scaled_gradient(x, 0.3), x)


def test_a_collapsed_codebook_is_seen() -> None:
    task = task_of()
    with torch.no_grad():
        task.quantizer.choose.weight.zero_()
        task.quantizer.choose.bias.copy_(torch.tensor([10.0] + [0.0] * 7).repeat(2))
    metrics = task(toy_batch("frames"), generator()).metrics
    assert metrics["codebook_perplexity"].item() == pytest.approx(1, abs=1e-3)
    assert metrics["diversity_loss"].item() > 0.8


def test_the_quantizers_temperature_falls_with_the_run() -> None:
    task = task_of()
    task.after_step(1.0)
    assert task.quantizer.temperature.item() == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_token_is_found_more_and_more(kind: Kind) -> None:
    task, batch = task_of(kind, feature_gradient=1.0), toy_batch(kind, n=32)
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    losses, hits = [], []
    for step in range(60):
        out = task(batch, generator(step))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.metrics["contrastive_loss"].item())
        hits.append(out.metrics["accuracy"].item())
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
    assert sum(hits[-5:]) > sum(hits[:5])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"quantizer.dim=15 is no multiple of quantizer.groups=2"):
        wav2vec2_recipe(quantizer={"dim": 15})
    recipe = wav2vec2_recipe()
    with pytest.raises(ConfigError, match="SequenceConv has none"):
        recipe.build(recipe.config(), SequenceConv(SequenceConvConfig(), toy_info("ids")), toy_info("ids"))


def test_the_recipe_takes_other_defaults() -> None:
    recipe = wav2vec2_recipe(optimization={"lr": 0.1}, negatives=7)
    assert (recipe.config().model_dump()["negatives"], recipe.optimization["lr"]) == (7, 0.1)
