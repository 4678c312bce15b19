from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from selfsup.objectives.masked_contrast import masked_contrast, sample_negatives
from selfsup.testing.kit.task_checks import generator


def test_negatives_are_all_other_hidden_tokens_of_the_sample_alike() -> None:
    weight = torch.tensor([[1.0] * 5, [1.0, 1, 1, 0, 0]])
    drawn = sample_negatives(weight, 20_000, generator())
    for sample, real in enumerate((5, 3)):
        for own in range(real):
            share = torch.bincount(drawn[sample, own], minlength=5) / 20_000
            wanted = torch.tensor([0 if i == own or i >= real else 1 / (real - 1) for i in range(5)])
            torch.testing.assert_close(share, wanted, atol=0.02, rtol=0)


def test_a_lonely_token_has_no_negatives() -> None:
    weight = torch.tensor([[1.0, 0, 0], [0, 0, 0]])
    drawn = sample_negatives(weight, 10, generator())
    assert (drawn[0, 0] == 0).all()
    assert ((drawn >= 0) & (drawn < 3)).all()
    vectors = torch.randn(2, 3, 4, generator=generator(), requires_grad=True)
    codes = torch.arange(6).view(2, 3, 1)
    contrast = masked_contrast(vectors, vectors.detach() + 1, codes, drawn, 0.1)
    assert contrast.loss[0, 0].item() == pytest.approx(0)
    contrast.loss.sum().backward()
    assert torch.isfinite(vectors.grad).all()  # type: ignore[arg-type]  # not None


def test_the_loss_and_its_gradients_by_hand_in_float64() -> None:
    a, b = (torch.randn(2, 4, 6, generator=generator(s), dtype=torch.float64, requires_grad=True) for s in (0, 1))
    codes = torch.arange(8).view(2, 4, 1)
    negatives = torch.tensor([[[1, 2], [0, 0], [3, 1], [2, 0]]] * 2)
    found = masked_contrast(a, b, codes, negatives, 0.1)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(2):
        for m in range(4):
            scores = [F.cosine_similarity(a[i, m], b[i, j], dim=0) / 0.1 for j in [m, *negatives[i, m].tolist()]]
            logits = torch.stack(scores)
            loss = logits.logsumexp(0) - logits[0]
            total = total + (i + m + 1) * loss
            assert found.loss[i, m].item() == pytest.approx(loss.item(), abs=1e-9)
            assert found.hit[i, m].item() == bool((logits[0] > logits[1:]).all())
    weight = torch.arange(2).view(2, 1) + torch.arange(4) + 1
    gradients = torch.autograd.grad((found.loss * weight).sum(), (a, b))
    for mine, by_hand in zip(gradients, torch.autograd.grad(total, (a, b)), strict=True):
        torch.testing.assert_close(mine, by_hand, rtol=0, atol=1e-9)


def test_negatives_of_the_same_entries_are_left_out() -> None:
    a, b = (torch.randn(1, 3, 6, generator=generator(s)) for s in (0, 1))
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    same = masked_contrast(a, b, torch.tensor([[[4, 1], [4, 1], [4, 2]]]), negatives, 0.1)
    alone = masked_contrast(a, b, torch.tensor([[[0, 1], [1, 1], [2, 1]]]), torch.tensor([[[2], [2], [0]]]), 0.1)
    torch.testing.assert_close(same.loss[:, :2], alone.loss[:, :2])


def test_embeddings_that_are_all_alike_give_chance() -> None:
    ones = torch.ones(2, 20, 8)
    codes = torch.arange(40).view(2, 20, 1)
    loss = masked_contrast(ones, ones, codes, sample_negatives(torch.ones(2, 20), 7, generator()), 0.1).loss
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(8)))
