from __future__ import annotations

import math

import pytest
import torch

from selfsup.objectives.base import ViewEmbeddings
from selfsup.objectives.cola import COLA, COLAConfig, bilinear_contrast


def test_the_loss_and_its_gradients_by_hand_in_float64() -> None:
    g = torch.Generator().manual_seed(0)
    a, b, W = (torch.randn(n, 3, generator=g, dtype=torch.float64, requires_grad=True) for n in (5, 5, 3))
    scores = [[x @ W @ y for y in b] for x in a]
    wanted = sum((torch.stack(row).exp().sum().log() - row[i] for i, row in enumerate(scores)), torch.zeros(())) / 5
    loss, accuracy = bilinear_contrast(a, b, W)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-12)
    for found, expected in zip(torch.autograd.grad(loss, (a, b, W)), torch.autograd.grad(wanted, (a, b, W)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert accuracy.item() == pytest.approx(sum(bool(max(row) == row[i]) for i, row in enumerate(scores)) / 5)
    assert bilinear_contrast(a, b, W.T)[0].item() != pytest.approx(wanted.item(), abs=1e-3), "the similarity is not symmetric"


def test_alike_embeddings_give_the_chance_that_it_reports() -> None:
    objective = COLA(COLAConfig(output_dim=4))
    ones = torch.ones(6, 4)
    out = objective(ViewEmbeddings(online=[ones, ones], target=[], n_global=2))
    assert out.loss.item() == pytest.approx(math.log(6), abs=1e-5)
    assert out.metrics["chance_loss"].item() == pytest.approx(math.log(6), abs=1e-5)


def test_the_projector_is_that_of_the_paper() -> None:
    projector = COLA(COLAConfig()).build_projector(10)
    assert [type(layer).__name__ for layer in projector] == ["Linear", "LayerNorm", "Tanh"]
    assert projector(torch.randn(3, 10)).shape == (3, 512)
