"""A frozen, trained encoder that teaches a task's network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.batch_parts import part_of
from selfsup.errors import ConfigError
from selfsup.tasks.joint_embedding.embed_views import view_parts
from selfsup.types import Batch

START = "start"
"""Names a network's own first weights as its teacher."""


class FrozenTeacher(nn.Module):
    """A backbone in evaluation mode that takes no gradient, and is in no checkpoint: its source has it.

    Args:
        backbone: trained.
        source: where it is from.
        digest: SHA-256 of its weights.
        adapt: changes a view into what it was trained on (images of another size); None: views stay as they are.
        view: the only view that it sees, whose embedding then teaches all views; None: each view is taught by its own.
        kept: whether checkpoints hold it, as they must where no source does.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        source: str,
        digest: str = "",
        adapt: Callable[[Batch], Batch] | None = None,
        view: int | None = None,
        kept: bool = False,
    ) -> None:
        super().__init__()
        self.network = backbone.requires_grad_(False).eval()
        self.source, self.digest = source, digest
        self.adapt, self.view, self.kept = adapt, view, kept
        self.dim = backbone.pooled_dim
        self.register_load_state_dict_post_hook(_not_missed)  # type: ignore[no-untyped-call]  # torch's own

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, views: Sequence[Batch]) -> list[Tensor]:
        """Per view [B, Q], its pooled embedding."""
        if self.view is not None:
            return [self._embed(views[self.view])] * len(views)
        return [self._embed(view) for view in views]

    def _embed(self, view: Batch) -> Tensor:
        # A network of several parts knows a view of one by the names of its keys.
        batch = view if self.network.part_dims else part_of(view, view_parts([view])[0])
        pooled: Tensor = self.network(batch if self.adapt is None else self.adapt(batch)).pooled
        return pooled

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing of it, unless it is kept."""
        if self.kept:
            return super().state_dict(*args, **kwargs)
        return kwargs.get("destination", args[0] if args else {})


def _not_missed(module: nn.Module, keys: Any) -> None:
    """A teacher that is in no checkpoint is missing from none."""
    assert isinstance(module, FrozenTeacher)
    if not module.kept:
        own = tuple(f"teacher.{name}" for name, _ in (*module.named_parameters(), *module.named_buffers()))
        keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith(own)]


def start_teacher(backbone: Backbone) -> FrozenTeacher:
    """A copy of a network as it is now.

    Raises:
        ConfigError: it embeds the parts of a row in spaces of their own, and there would be as many teachers.
    """
    if backbone.part_dims and not backbone.shares_space:
        raise ConfigError(
            f"objective.teacher={START} needs one space for all parts of a row, and this network has one for each."
        )
    return FrozenTeacher(deepcopy(backbone), source=START, kept=True)
