"""What evaluators of several parts need from an encoder and the rows of a split."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfsup.backbones import Backbone, Encoded
from selfsup.data import CONTENT, MARK, PRESENT, EpochSampler, Loader, join_parts
from selfsup.errors import ConfigError
from selfsup.evaluation import Split
from selfsup.types import Batch

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


class WithoutPart(Backbone):
    """A network whose rows all lack one part."""

    def __init__(self, backbone: Backbone, part: str) -> None:
        super().__init__()
        self.__dict__["modality"] = backbone.modality  # on the instance: it differs between instances
        self.backbone, self.lacks = backbone, part
        self.embed_dim = backbone.pooled_dim

    def forward(self, batch: Batch) -> Encoded:
        """Encode the other parts of the batch."""
        key = f"{self.lacks}{MARK}{PRESENT}"
        encoded: Encoded = self.backbone({**batch, key: torch.zeros_like(batch[key])})
        return encoded


class JointPart(Backbone):
    """The embedding of one part in the joint space, from batches of that part's own modality."""

    def __init__(self, backbone: Backbone, name: str, modality: str) -> None:
        super().__init__()
        self.__dict__["modality"] = modality
        self.backbone, self.name = backbone, name
        self.embed_dim = backbone.part_dims[name]

    def forward(self, batch: Batch) -> Encoded:
        """Encode rows that hold only this part."""
        joined = join_parts({self.name: batch})
        first = next(iter(joined.values()))
        joined[f"{self.name}{MARK}{PRESENT}"] = torch.ones(len(first), dtype=torch.bool, device=first.device)
        parts = self.backbone(joined).parts
        assert parts is not None
        return Encoded(parts[self.name].pooled)


def parts_of(encoder: Encoder, evaluator: str, *, shared: bool = False) -> tuple[str, ...]:
    """The parts that an encoder embeds, at least two; with ``shared`` they must lie in one space.

    Raises:
        ConfigError: it has fewer, or their embeddings cannot be compared.
    """
    dims = encoder.backbone.part_dims
    if len(dims) < 2:
        raise ConfigError(
            f"The evaluator {evaluator!r} compares the parts of a row, but the backbone {encoder.backbone_id!r} gives no "
            "embedding of each part."
        )
    if shared and not encoder.backbone.shares_space:
        widths = ", ".join(f"{name} {width}" for name, width in dims.items())
        raise ConfigError(
            f"The evaluator {evaluator!r} compares embeddings of different parts, but this encoder has no joint space (widths: "
            f"{widths}). Pretrain with --set backbone.joint_dim=256."
        )
    return tuple(dims)


def content_of(encoder: Encoder, split: Split, parts: Collection[str]) -> dict[str, Tensor]:
    """By part: [N] long, equal for equal contents, -1 if the row lacks the part.

    If the processor gives no such numbers, all contents of a part are taken as different.
    """
    found: dict[str, list[Tensor]] = {part: [] for part in parts}
    n, size = len(split.store), encoder.processor.batch_size
    sampler = EpochSampler(n, size, drop_last=False, shuffle=False)
    for batch in Loader(split.store, encoder.processor, sampler, torch.device("cpu")).epoch(0):
        for part, values in found.items():
            if (content := batch.get(f"{part}{MARK}{CONTENT}")) is not None:
                values.append(content)
    return {part: torch.cat(values) if values else torch.arange(n) for part, values in found.items()}
