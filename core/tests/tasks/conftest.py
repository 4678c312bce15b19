from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

Agree = Callable[[nn.Module, Tensor, Tensor], bool]


@pytest.fixture
def agree() -> Agree:
    """Whether two losses agree to 1e-6, and their gradients in all weights of a task that are trained."""

    def compared(task: nn.Module, loss: Tensor, by_hand: Tensor) -> bool:
        weights = [parameter for parameter in task.parameters() if parameter.requires_grad]
        found, wanted = (
            torch.cat([g.flatten() for g in torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)])
            for value in (loss, by_hand)
        )
        assert float(wanted.norm()) > 1e-4, "no gradient to compare"
        assert loss.item() == pytest.approx(by_hand.item(), abs=1e-6, rel=0)
        return float((found - wanted).norm() / wanted.norm()) < 1e-6

    return compared
