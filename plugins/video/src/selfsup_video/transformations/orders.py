"""The orders in which things can stand."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor


def all_orders(n: int, *, symmetric: bool = False) -> Tensor:
    """[classes, n] long: all n! orders of n things, or with ``symmetric`` the n!/2 that are no other one reversed."""
    every = permutations(range(n))
    return torch.tensor([order for order in every if not symmetric or order[0] < order[-1]])
