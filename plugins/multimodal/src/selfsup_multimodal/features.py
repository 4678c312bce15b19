"""Raw features of joined rows: of all parts concatenated, or of the parts of one modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.data import fill_absent, part_of, presence
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.types import Batch, Info
from selfsup_multimodal.joined_info import JoinedPart, joined_parts

RawFeatures = Callable[[Batch, Info], Tensor]


def joined(batch: Batch, info: Info) -> Tensor:
    """[B, F] float: each part's raw features with unit 2-norm, so that all parts have equal weight; zeros if one is missing.

    Parts whose modality has no raw features are left out.

    Raises:
        ConfigError: no part has any.
    """
    return _side_by_side(batch, joined_parts(info))


def of_modality(batch: Batch, info: Info, *, modality: str) -> Tensor:
    """[B, F] float, as :func:`joined`, but only of the parts of one modality.

    Raises:
        ConfigError: the rows have no such part.
    """
    parts = {name: part for name, part in joined_parts(info).items() if part.modality == modality}
    if not parts:
        raise ConfigError(f"the rows have no part of {modality}, so there are no raw features of it.")
    return _side_by_side(batch, parts)


def _side_by_side(batch: Batch, parts: Mapping[str, JoinedPart]) -> Tensor:
    features = {name: registry().modality_objects(part.modality).raw_features for name, part in parts.items()}
    blocks = [_of_part(batch, parts[name], raw) for name, raw in features.items() if raw is not None]
    if not blocks:
        raise ConfigError(f"none of the parts {', '.join(parts)} has raw features.")
    return torch.cat(blocks, dim=1)


def _of_part(batch: Batch, part: JoinedPart, raw: RawFeatures) -> Tensor:
    present = presence(batch, part.name)
    own = F.normalize(raw(fill_absent(part_of(batch, part.name), present), part.info).float(), dim=1)
    return own if present is None else own * present.unsqueeze(1)


VISION: RawFeatures = partial(of_modality, modality="vision")
TEXT: RawFeatures = partial(of_modality, modality="text")
AUDIO: RawFeatures = partial(of_modality, modality="audio")
VIDEO: RawFeatures = partial(of_modality, modality="video")
TABULAR: RawFeatures = partial(of_modality, modality="tabular")
