"""Which metric a row is ranked by: ``few-labels.accuracy@10``, and what it is with all labels."""

from __future__ import annotations

from dataclasses import dataclass

from selfsup_bench.cells.cell import BOOSTING, FEW_LABELS, Kind, is_supervised


@dataclass(frozen=True)
class Headline:
    """A headline metric, taken apart."""

    text: str
    """As a benchmark's spec has it."""

    @property
    def metric(self) -> str:
        """``accuracy`` of ``few-labels.accuracy@10``."""
        return self.text.partition(".")[2].partition("@")[0]

    @property
    def amount(self) -> str:
        """Of few labels: ``10`` of each class, or ``5%`` of all labels; empty where the metric is of all labels."""
        evaluator, _, rest = self.text.partition(".")
        return rest.partition("@")[2] if evaluator == FEW_LABELS else ""

    @property
    def per_class(self) -> int:
        """Labels a class; 0 where the metric is of a share of the labels, or of all."""
        return int(self.amount) if self.amount.isdecimal() else 0

    def of(self, kind: Kind) -> str:
        """The metric that a row of this kind is ranked by; boosted trees have one of an evaluator of their own.

        Few labels are those of all rows alike.
        """
        return f"{BOOSTING}.{self.metric}" if kind == BOOSTING and not self.amount else self.text

    def all_labels(self, kind: Kind) -> str:
        """The metric with all labels; empty where the headline itself is one."""
        if not self.amount:
            return ""
        return f"{BOOSTING if kind == BOOSTING else 'linear'}.{self.metric}"

    def shown(self, kind: Kind) -> str:
        """What a cell of this kind is judged by: supervised training has seen all labels, so that few would say nothing."""
        return (self.all_labels(kind) if is_supervised(kind) else "") or self.of(kind)
