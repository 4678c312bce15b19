"""Corruption of tables: cells get values of their column from other rows."""

from selfsup_tabular.corruptions.swap import MarginalSwap, Swapped, marginal_swap, swap_cells

__all__ = ["MarginalSwap", "Swapped", "marginal_swap", "swap_cells"]
