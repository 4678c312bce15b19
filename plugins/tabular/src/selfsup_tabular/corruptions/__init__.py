"""How tables are corrupted: cells take the values that their column has in other rows."""

from selfsup_tabular.corruptions.swap import MarginalSwap, Swapped, marginal_swap, swap_cells

__all__ = ["MarginalSwap", "Swapped", "marginal_swap", "swap_cells"]
