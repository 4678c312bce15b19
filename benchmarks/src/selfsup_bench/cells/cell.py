"""A cell: one training and its evaluation, with one seed, and the key that names all that determines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Kind = str
"""``task``, or a reference: ``random-init`` (the untrained network), ``scratch`` (the same network trained with the few labels
alone), ``supervised`` (training with all labels), ``raw`` (raw features), ``boosting`` (boosted trees on these), ``raw-NAME``
(further raw features of the modality), ``supervised-BACKBONE`` (training another network with all labels)."""

BOOSTING = "boosting"
"""The evaluator of the reference of that name, and of no other cell."""
EVALUATOR_PREFIX = "evaluators."
"""``evaluators.knn.k`` is an option of an evaluator."""
FEW_LABELS = "few-labels"
"""The evaluator that ``scratch`` is measured by."""


def is_raw(kind: Kind) -> bool:
    """Whether it needs no network."""
    return kind in ("raw", "boosting") or kind.startswith("raw-")


def is_supervised(kind: Kind) -> bool:
    """Whether it is trained with the labels."""
    return kind == "supervised" or kind.startswith("supervised-")


def options_under(prefix: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Config keys with a prefix as nested options.

    With the prefix ``processor.``, ``{"processor.options.text.length": 8}`` gives ``{"options": {"text": {"length": 8}}}``.
    """
    options: dict[str, Any] = {}
    for key, value in overrides.items():
        if key.startswith(prefix):
            *sections, name = key.removeprefix(prefix).split(".")
            inner = options
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[name] = value
    return options


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training and its evaluation. Every field determines the result, and nothing else of the benchmark does."""

    kind: Kind
    modality: str
    task: str
    """Id of the task; of references ``<modality>/<kind>``."""
    dataset: str
    backbone: str = ""
    """Id of the backbone; empty for raw features."""
    evaluators: tuple[str, ...]
    steps: int = 0
    epochs: int = 0
    """Budget, one of the two; both 0 where nothing is trained."""
    train_rows: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Of own data: how it is read, and a hash of its training and test rows (:mod:`selfsup_bench.own_data.rows.read_rows`).

    ``dataset`` is then its name for people. Empty for registered data sets.
    """
    seed: int

    @property
    def name(self) -> str:
        """A short name for people and folders."""
        # Training from scratch is named apart from the untrained network that it starts from.
        task = f"{self.modality}/{self.kind}" if self.kind == "scratch" else self.task
        parts = [task, self.dataset, self.backbone.rsplit("/", 1)[-1], f"seed{self.seed}"]
        return ".".join(part.replace("/", "-") for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {**asdict(self), "evaluators": list(self.evaluators), "overrides": dict(self.overrides)}
        return {**values, "reading": dict(self.reading)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**values, "evaluators": tuple(values["evaluators"])})

    def key(self, circumstances: Mapping[str, Any]) -> str:
        """Hash of the cell and of the circumstances: versions of packages, fingerprint of the data, device.

        Args:
            circumstances: plain JSON values.

        Returns:
            32 hexadecimal digits.
        """
        return cell_key(self.as_dict(), circumstances)


def cell_key(cell: Mapping[str, Any], circumstances: Mapping[str, Any] | None = None) -> str:
    """:meth:`Cell.key` of a cell's plain JSON values, without circumstances if there are none."""
    text = json.dumps({"cell": cell, "circumstances": circumstances or {}}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
