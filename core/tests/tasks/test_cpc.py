from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.tasks.autoregressive.cpc import CPC, cpc_recipe
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info

KINDS: tuple[Kind, ...] = ("ids", "frames")


def task_of(kind: Kind, **options: Any) -> CPC:
    recipe = cpc_recipe(**{"steps": 3, "negatives": 6, **options})
    torch.manual_seed(0)
    task = recipe.build(recipe.config(), toy_backbone(kind, causal=True), toy_info(kind))
    assert isinstance(task, CPC)
    return task


@pytest.mark.parametrize("source", ["batch", "sample"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_by_hand_in_float64(kind: Kind, source: str) -> None:
    task, batch = task_of(kind, negatives_from=source).double(), toy_batch(kind)
    tokens = task.backbone.tokenize(batch)
    z, c = tokens.embeddings, task.backbone.encode(tokens)
    B, N, D = z.shape
    real = torch.ones(B, N, dtype=torch.bool) if tokens.padding is None else ~tokens.padding
    drawn, vectors = task._draw(z, real, generator(2))
    torch.testing.assert_close(vectors, z.flatten(0, 1)[drawn])
    flat, losses, hits = z.flatten(0, 1), [], []
    for b in range(B):
        for t in range(N):
            prediction = task.predict(c[b, t]).view(3, D)
            for k in range(3):
                if t + k + 1 >= N or not real[b, t] or not real[b, t + k + 1]:
                    continue
                own = b * N + t + k + 1
                others = [int(i) for i in (drawn if source == "batch" else drawn[b]) if int(i) != own]
                scores = torch.stack([prediction[k] @ flat[i] for i in [own, *others]]) / math.sqrt(D)
                losses.append(scores.logsumexp(0) - scores[0])
                hits.append(bool((scores[0] > scores[1:]).all()))
    found = task(batch, generator(2))
    assert found.loss.dtype == torch.float64
    assert_same_loss(task, found.loss, torch.stack(losses).mean())
    if kind == "frames":  # equal ids have equal scores, and rounding decides
        assert found.metrics["accuracy"].item() == pytest.approx(sum(hits) / len(hits))
    assert found.metrics["chance_loss"].item() == pytest.approx(math.log(7))


def test_negatives_are_real_tokens_all_alike() -> None:
    real = torch.tensor([[True, True, True, False], [True, False, False, False]])
    task = task_of("frames", negatives=30_000)
    share = torch.bincount(task._draw(torch.zeros(2, 4, 3), real, generator())[0], minlength=8) / 30_000
    torch.testing.assert_close(share, real.flatten() / 4, atol=0.02, rtol=0)
    sampled = task_of("frames", negatives=30_000, negatives_from="sample")
    within = sampled._draw(torch.zeros(2, 4, 3), real, generator())[0]
    for sample, count in enumerate((3, 1)):
        share = torch.bincount(within[sample] - 4 * sample, minlength=4) / 30_000
        torch.testing.assert_close(share, real[sample] / count, atol=0.02, rtol=0)


def test_samples_too_short_for_a_prediction_cost_nothing() -> None:
    task = task_of("ids")
    short = {"sequence": torch.tensor([[3, 4], [5, 0]]), "padding": torch.tensor([[False, True], [False, True]])}
    out = task(short, generator())
    out.loss.backward()
    assert out.loss.item() == 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_to_come_are_told_better_and_better(kind: Kind) -> None:
    task, batch = task_of(kind, negatives=16), toy_batch(kind, n=32)
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = task(batch, generator(step)).loss
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_backbones_that_would_copy_the_answer_are_refused() -> None:
    recipe = cpc_recipe()
    with pytest.raises(ConfigError, match="IdTransformer lets each token look at those behind it"):
        recipe.build(recipe.config(), toy_backbone("ids"), toy_info("ids"))


def test_defaults_are_the_papers() -> None:
    recipe = cpc_recipe(optimization={"lr": 0.1})
    assert recipe.config().model_dump() == {"steps": 12, "negatives": 128, "negatives_from": "batch"}
    assert recipe.optimization["lr"] == 0.1
