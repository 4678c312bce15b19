"""How tables are spoiled: cells take the values that their column has in other rows."""

from selfsup_tabular.corruptions.swap import Swapped, marginal_swap, swap_cells

__all__ = ["Swapped", "marginal_swap", "swap_cells"]
