"""Minimise a smooth function with preconditioned, full-batch L-BFGS, as all linear classifiers do."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

_MEMORY = 10
"""Pairs of steps and gradient changes that approximate the curvature."""


class Problem(Protocol):
    """A function of parameters and of a penalty."""

    def curvature(self, penalty: float) -> Tensor:
        """The diagonal of the Hessian, about; it broadcasts to the parameters, and is above 0."""
        ...

    def loss_and_gradient(self, parameters: Tensor, penalty: float) -> tuple[float, Tensor]:
        """The value, and the gradient in the shape of the parameters."""
        ...


@torch.no_grad()
def minimise(problem: Problem, parameters: Tensor, penalty: float, tolerance: float, max_iterations: int) -> tuple[Tensor, int]:
    """L-BFGS (Nocedal 1980) with backtracking (Armijo).

    Args:
        problem: the function and its gradient.
        parameters: where to begin.
        penalty: handed to the problem.
        tolerance: stop when the quadratic model promises less than this.
        max_iterations: stop at the latest then.

    Returns:
        The parameters, and the number of steps.
    """
    curvature = problem.curvature(penalty)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    loss, gradient = problem.loss_and_gradient(parameters, penalty)
    for iteration in range(max_iterations):
        direction = -_inverse_hessian_times(gradient, steps, changes, curvature)
        slope = float((direction * gradient).sum())
        if -slope / 2 < tolerance:
            return parameters, iteration
        rate = 1.0
        while True:
            candidate = parameters + rate * direction
            new_loss, new_gradient = problem.loss_and_gradient(candidate, penalty)
            if new_loss <= loss + 1e-4 * rate * slope:
                break
            # The minimum of the parabola through both losses and the slope, kept away from no step at all.
            rate *= min(0.5, max(0.1, -slope * rate / (2 * (new_loss - loss - slope * rate))))
            if rate < 1e-6:  # rounding hides any decrease that is left
                return parameters, iteration
        step, change = candidate - parameters, new_gradient - gradient
        if float((step * change).sum()) > 0:
            steps, changes = [*steps[1 - _MEMORY :], step], [*changes[1 - _MEMORY :], change]
        parameters, loss, gradient = candidate, new_loss, new_gradient
    return parameters, max_iterations


def _inverse_hessian_times(gradient: Tensor, steps: list[Tensor], changes: list[Tensor], curvature: Tensor) -> Tensor:
    """The two-loop recursion (Nocedal and Wright 2006, algorithm 7.4), begun with the diagonal preconditioner."""
    result = gradient.clone()
    factors: list[tuple[float, float]] = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        inverse = 1 / float((step * change).sum())
        alpha = inverse * float((step * result).sum())
        result -= alpha * change
        factors.append((inverse, alpha))
    if steps:
        step, change = steps[-1], changes[-1]
        result *= float((step * change).sum()) / float((change.square() / curvature).sum())
    result /= curvature
    for step, change, (inverse, alpha) in zip(steps, changes, reversed(factors), strict=True):
        result += (alpha - inverse * float((change * result).sum())) * step
    return result
