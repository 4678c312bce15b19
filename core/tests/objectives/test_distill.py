"""Distillation's losses by hand, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from selfsup.objectives.base import LossOutput, ViewEmbeddings
from selfsup.objectives.distill import Distill, DistillConfig, similarity_divergence, standardized


def rows(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def output(config: DistillConfig, online: list[Tensor], target: list[Tensor], valid: list[Tensor] | None = None) -> LossOutput:
    result: LossOutput = Distill(config)(ViewEmbeddings(online=online, target=target, n_global=len(online), valid=valid))
    return result


def by_hand(loss: str, student: Tensor, teacher: Tensor) -> Tensor:
    """Row by row, with loops."""
    total = student.new_zeros(())
    n, width = teacher.shape
    if loss == "similarity":
        for i in range(n):
            others = [j for j in range(n) if j != i]
            own = [student[i] @ student[j] / student[i].norm() / student[j].norm() / 0.04 for j in others]
            theirs = [teacher[i] @ teacher[j] / teacher[i].norm() / teacher[j].norm() / 0.04 for j in others]
            p, log_q = torch.stack(theirs).softmax(0), torch.stack(own).log_softmax(0)
            total = total + (p * (p.log() - log_q)).sum()
        return total / n
    mean = [sum(float(teacher[i, k]) for i in range(n)) / n for k in range(width)]
    variance = [sum((float(teacher[i, k]) - mean[k]) ** 2 for i in range(n)) / n for k in range(width)]
    least = 1e-4 * sum(variance) / width
    for i in range(n):
        target = torch.tensor(
            [(float(teacher[i, k]) - mean[k]) / math.sqrt(variance[k] + least) for k in range(width)], dtype=torch.float64
        )
        if loss == "cosine":
            total = total + 1 - student[i] @ target / student[i].norm() / target.norm()
        else:
            total = total + sum((student[i, k] - target[k]) ** 2 for k in range(width)) / width
    return total / n


@pytest.mark.parametrize("loss", ["cosine", "mse", "similarity"])
def test_value_and_gradient_by_hand(loss: str) -> None:
    student, teacher = rows(7, 4, seed=1), 3 + 2 * rows(7, 4 if loss != "similarity" else 6, seed=2)
    first, second = student.clone().requires_grad_(), student.clone().requires_grad_()
    ours = output(DistillConfig(loss=loss), [first], [teacher]).loss  # type: ignore[arg-type]  # one of the three
    theirs = by_hand(loss, second, teacher)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-9)
    torch.autograd.backward(ours)
    torch.autograd.backward(theirs)
    assert first.grad is not None
    assert second.grad is not None
    assert torch.allclose(first.grad, second.grad, atol=1e-9)
    assert first.grad.abs().max() > 1e-3


@pytest.mark.parametrize("loss", ["cosine", "mse", "similarity"])
def test_rows_that_lack_a_view_count_for_nothing(loss: str) -> None:
    config = DistillConfig(loss=loss)  # type: ignore[arg-type]  # one of the three
    student, teacher = rows(9, 4, seed=3), rows(9, 4, seed=4)
    valid = torch.tensor([True, False, True, True, False, True, True, True, False])
    damaged = torch.where(valid.unsqueeze(1), student, torch.nan)
    first, second = damaged.clone().requires_grad_(), student[valid].clone().requires_grad_()
    some = output(config, [first], [torch.where(valid.unsqueeze(1), teacher, torch.nan)], [valid])
    alone = output(config, [second], [teacher[valid]])
    assert some.weight is not None
    assert some.weight.item() == 6
    assert some.loss.item() == pytest.approx(alone.loss.item(), abs=1e-9)
    torch.autograd.backward(some.loss)
    torch.autograd.backward(alone.loss)
    assert first.grad is not None
    assert second.grad is not None
    assert torch.allclose(first.grad[valid], second.grad, atol=1e-9)
    assert (first.grad[~valid] == 0).all()
    nobody = output(config, [(nothing := student.clone().requires_grad_())], [teacher], [torch.zeros_like(valid)])
    torch.autograd.backward(nobody.loss)
    assert nobody.loss.item() == 0
    assert nothing.grad is not None
    assert (nothing.grad == 0).all()


def test_each_view_has_its_own_teacher_and_counts_by_its_rows() -> None:
    student, teacher = [rows(6, 4, seed=seed) for seed in (5, 6)], [rows(6, 4, seed=seed) for seed in (7, 8)]
    both = output(DistillConfig(), student, teacher)
    each = [output(DistillConfig(), [s], [t]).loss for s, t in zip(student, teacher, strict=True)]
    assert both.loss.item() == pytest.approx((each[0].item() + each[1].item()) / 2)
    valid = [torch.ones(6, dtype=torch.bool), torch.arange(6) < 2]
    some = output(DistillConfig(), student, teacher, valid)
    assert [term.weight.item() for term in some.terms if term.weight is not None] == [6, 2]
    assert some.loss.item() == pytest.approx(sum(term.loss.item() for term in some.terms))


def test_targets_are_standardised_over_the_batch() -> None:
    teacher = 5 + rows(64, 3, seed=9) * torch.tensor([1.0, 10.0, 0.0])
    made = standardized(teacher)
    assert torch.allclose(made.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-9)
    assert made.std(dim=0, correction=0)[:2] == pytest.approx([1, 1], abs=0.01)
    assert torch.equal(made[:, 2], torch.zeros(64, dtype=torch.float64))  # a feature that says nothing stays silent


def test_a_network_that_sees_as_its_teacher_has_nothing_to_learn() -> None:
    teacher = rows(5, 4, seed=10)
    turned = teacher @ torch.linalg.qr(rows(4, 4, seed=11))[0]  # the angles between samples stay
    assert similarity_divergence(turned, teacher, 0.04).abs().max() < 1e-9


def test_heads() -> None:
    linear = Distill(DistillConfig())
    linear.meet_teacher(5)
    assert [tuple(p.shape) for p in linear.build_projector(3).parameters()] == [(5, 3), (5,)]
    deep = Distill(DistillConfig(hidden_dim=7))
    deep.meet_teacher(5)
    assert deep.build_projector(3)(torch.randn(4, 3)).shape == (4, 5)
    assert not list(Distill(DistillConfig(loss="similarity")).build_projector(3).parameters())
