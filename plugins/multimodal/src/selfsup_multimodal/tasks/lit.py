"""LiT: CLIP's contrast with one tower locked, so that the other towers learn to match it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from selfsup.backbones import Backbone, freeze
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.objectives import CLIP_OBJECTIVE as CLIP
from selfsup.objectives import JointEmbeddingObjective
from selfsup.tasks import JointEmbedding, TaskRecipe, Views, joint_embedding_recipe, with_section
from selfsup.types import Info
from selfsup_multimodal.augmentations import VIEWS
from selfsup_multimodal.joined_info import JoinedPart, joined_parts


class LockConfig(Config):
    """Options of the locked tower."""

    part: str = Field(default="vision", min_length=1)
    """The part whose tower is locked, by name or by a modality that only it has; images in the paper. Start that tower from
    trained weights (``--init vision=RUN``, or its option ``pretrained``)."""


class LockedContrast(JointEmbedding):
    """Locked-image tuning (LiT: Zhai et al. 2022, arXiv:2111.07991): CLIP's contrast with one frozen tower.

    The projections of all towers are trained, that of the locked tower included.

    Raises:
        ConfigError: the backbone has no tower for the part.
    """

    def __init__(self, backbone: Backbone, views: Views, objective: JointEmbeddingObjective, locked: str) -> None:
        freeze(backbone.part(locked))
        super().__init__(backbone, views, objective)
        self.locked = locked

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Also warn if the locked tower has random weights."""
        notes = [super().fit_to_data(rows, batch_size), "" if self._is_trained() else self._warning()]
        return " ".join(filter(None, notes))

    def _is_trained(self) -> bool:
        tower = self.backbone.part(self.locked)
        _, options = self.backbone.part_options(self.locked)
        return bool(tower.started_from or options.get("pretrained") or options.get("checkpoint"))

    def _warning(self) -> str:
        return (
            f"Warning: the tower of {self.locked} is locked with random weights, so the other towers learn to match noise. "
            f"Start it from trained weights: --init {self.locked}=RUN."
        )


def locked_part(name: str, parts: dict[str, JoinedPart]) -> str:
    """The part with this name, or the only part with this modality.

    Raises:
        ConfigError: there is none, or several parts have that modality.
    """
    if name in parts:
        return name
    found = [part.name for part in parts.values() if part.modality == name]
    if len(found) == 1:
        return found[0]
    what = "matches several parts" if found else "matches no part"
    raise ConfigError(f"lock.part={name} {what} of these rows: name one of {', '.join(parts)}.")


def _recipe() -> TaskRecipe:
    plain = joint_embedding_recipe(CLIP, VIEWS)

    def build(config: Any, backbone: Backbone, info: Info) -> LockedContrast:
        views, objective = VIEWS.build(config.views, info), CLIP.build(config.objective)
        return LockedContrast(backbone, views, objective, locked_part(config.lock.part, joined_parts(info)))

    return replace(plain, config=with_section(plain.config, "lock", LockConfig, "Which tower is locked."), build=build)


LIT = _recipe()
"""``multimodal/lit`` with CLIP's optimizer (paper: Adafactor at 1e-3)."""
