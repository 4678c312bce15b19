"""The cells of a row, the format of predictions of all cells, and their losses."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.runtime import full
from selfsup.tasks import Term, mean_term
from selfsup.types import Batch, Info
from selfsup_tabular.columns.plan import FIRST

Distance = Literal["squared", "absolute"]


class CellLayout(nn.Module):
    """The cells of a table: numeric ones first, then categories.

    A prediction of all cells has ``width`` numbers: one per numeric cell, then one logit per code of each category. The loss of
    a cell is the squared (or absolute) error of its number, or the cross-entropy of its code. Missing cells and unknown
    categories have no target: their loss is 0, and means over cells leave them out (:meth:`known`).
    """

    first: Tensor
    """[n_cells] long, index of the first number of each cell in a prediction."""
    widths: Tensor
    """[n_cells] long, how many numbers of a prediction belong to each cell."""

    def __init__(self, info: Info) -> None:
        super().__init__()
        self.n_numeric = len(info["numeric_columns"])
        self.cardinalities = tuple(int(count) for count in info["cardinalities"])
        self.n_categories = len(self.cardinalities)
        self.n_cells = self.n_numeric + self.n_categories
        self.width = self.n_numeric + sum(self.cardinalities)
        self.widest = max(self.cardinalities, default=1)
        widths = torch.tensor([1] * self.n_numeric + list(self.cardinalities), dtype=torch.long)
        self.register_buffer("widths", widths, persistent=False)
        self.register_buffer("first", widths.cumsum(0) - widths, persistent=False)

    def values(self, batch: Batch) -> Tensor:
        """[B, n_cells] float32: the number of each numeric cell (NaN if missing), and the code of each category."""
        numeric = batch["numeric"].float().masked_fill(batch["missing"], torch.nan)
        return torch.cat([numeric, batch["category"].float()], dim=1)

    def known(self, values: Tensor) -> Tensor:
        """[B, n_cells] bool, the cells of :meth:`values` that are neither missing nor unknown."""
        numeric, category = values[:, : self.n_numeric], values[:, self.n_numeric :]
        return torch.cat([~numeric.isnan(), category >= FIRST], dim=1)

    def mean_loss(self, prediction: Tensor, values: Tensor) -> Term:
        """The mean of :meth:`losses` of whole rows over known cells, weighted by their number."""
        return mean_term(self.losses(prediction, values), self.known(values).float())

    def losses(self, prediction: Tensor, values: Tensor, index: Tensor | None = None, distance: Distance = "squared") -> Tensor:
        """The loss of each cell, at least in float32; 0 if it is missing or unknown.

        Args:
            prediction: [B, width] of the whole row, or [B, K, width]; each cell uses its own part.
            values: [B, n_cells] from :meth:`values`; with ``index`` [B, K], of these cells.
            index: [B, K] long, the predicted cells; None: all, in order.
            distance: for numbers.

        Returns:
            [B, n_cells] or [B, K].
        """
        prediction = full(prediction)
        if index is None:
            numeric = _distance(prediction[:, : self.n_numeric], values[:, : self.n_numeric], distance)
            parts = torch.split(prediction[:, self.n_numeric :], list(self.cardinalities), dim=1)
            codes = values[:, self.n_numeric :].long()
            entropies = [F.cross_entropy(part, codes[:, place], reduction="none") for place, part in enumerate(parts)]
            if not entropies:
                return numeric
            return torch.cat([numeric, torch.stack(entropies, dim=1).masked_fill(codes < FIRST, 0.0)], dim=1)
        first, width = self.first[index], self.widths[index]
        if not self.n_categories:
            return _distance(prediction.gather(2, first.unsqueeze(2)).squeeze(2), values, distance)
        place = torch.arange(self.widest, device=prediction.device)
        slots = (first.unsqueeze(2) + place).clamp(max=self.width - 1)
        own = prediction.gather(2, slots)
        logits = own.masked_fill(place >= width.unsqueeze(2), -torch.inf)
        is_number = index < self.n_numeric
        codes = values.nan_to_num().masked_fill(is_number, 0).long()
        entropy = (
            F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
            .view(codes.shape)
            .masked_fill(codes < FIRST, 0.0)
        )
        return torch.where(is_number, _distance(own[..., 0], values, distance), entropy)


def _distance(prediction: Tensor, values: Tensor, distance: Distance) -> Tensor:
    """Element-wise, 0 if the value is NaN; no NaN reaches the gradient."""
    difference = torch.where(values.isnan(), 0.0, prediction - values.nan_to_num())
    return difference.square() if distance == "squared" else difference.abs()
