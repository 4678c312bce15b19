"""Compare a task's loss and gradients with a loss written by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def assert_same_loss(task: nn.Module, loss: Tensor, by_hand: Tensor, tolerance: float = 1e-6) -> None:
    """Check that two losses agree, and their gradients in every weight of the task that is trained.

    A value alone does not show a stopped gradient that should flow, or one that flows and should not.

    Args:
        task: of whose weights both losses are functions.
        loss: scalar, as the task computes it.
        by_hand: scalar, as its formula says.
        tolerance: largest difference of the losses, and of all gradients together as a share of their norm.

    Raises:
        AssertionError: they differ, or there is no gradient to compare.
    """
    weights = [parameter for parameter in task.parameters() if parameter.requires_grad]
    found, wanted = (
        torch.cat([g.flatten() for g in torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)])
        for value in (loss, by_hand)
    )
    assert float(wanted.norm()) > 1e-4, "the loss by hand has no gradient"
    values = float(loss.detach()), float(by_hand.detach())
    assert abs(values[0] - values[1]) < tolerance * max(1.0, abs(values[1])), (
        f"the loss is {values[0]}, by hand it is {values[1]}"
    )
    apart = float((found - wanted).norm() / wanted.norm())
    assert apart < tolerance, f"the gradients differ by {apart:.2e} of their norm"
