"""The contract of an evaluator, and the labelled data it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from selfsup.batch_parts import MARK, PRESENT
from selfsup.config import Config
from selfsup.data.sources.columns.labels import LabelArray, LabelKind
from selfsup.errors import ColumnError

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder
    from selfsup.data import Rows, Store


@dataclass
class Split:
    """Processed rows with their labels. Embeddings are computed at the first use and shared by all evaluators."""

    store: Store
    """The processed rows, without labels."""
    labels: LabelArray | None
    """Aligned with ``store``: [N] class ids, [N, K] zeros and ones of several classes, or [N] numbers; None: no labels."""
    class_names: tuple[str, ...] = ()
    """K names; empty for numbers."""
    fingerprint: str = ""
    """Hash of the data source."""
    precision: Literal["32", "bf16", "16"] = "32"
    """Arithmetic of the embeddings."""
    rows: Rows | None = None
    """The rows, for evaluators that read further columns (sentence pairs, tags); sample i of ``store`` is ``store.kept[i]``."""
    label_kind: LabelKind = "class"
    """Kind of ``labels``."""
    _embeddings: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def embeddings(self, encoder: Encoder, part: str | None = None) -> Tensor:
        """[N, D] float32 on the CPU, computed once for each encoder and part.

        Args:
            encoder: its processor processed the rows.
            part: embed this part only, in the joint space; NaN for rows without it (:meth:`present`). None: all parts of a
                row together.

        Raises:
            ConfigError: the encoder has no such part.
        """
        key = encoder.digest() if part is None else f"{encoder.digest()}/{part}"
        if key not in self._embeddings:
            self._embeddings[key] = encoder.embed_store(self.store, part=part, precision=self.precision)
        return self._embeddings[key]

    def present(self, encoder: Encoder, part: str) -> Tensor:
        """[N] bool on the CPU: which rows have a part.

        Raises:
            ConfigError: the encoder has no such part.
        """
        encoder.check_part(part)
        return self.store.column(f"{part}{MARK}{PRESENT}").bool()

    def targets(self) -> Tensor:
        """[N] long class ids; [N, K] float32 zeros and ones of several classes; [N] float64 numbers.

        Raises:
            ColumnError: there are no labels.
        """
        if self.labels is None:
            raise ColumnError("These rows have no labels, and labels are needed here. Name the label column with --label.")
        targets = torch.from_numpy(self.labels)
        return targets.float() if self.label_kind == "classes" else targets


class Evaluator(Protocol):
    """Measures an encoder on ``test``; a probe may be fitted on ``train``."""

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Metric name to value, the headline first."""
        ...


@dataclass(frozen=True)
class EvaluatorRecipe:
    """Builds an evaluator from its validated options."""

    config: type[Config]
    build: Callable[[Any], Evaluator]
