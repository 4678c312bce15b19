"""The repeated layers of a task's networks: what is sharded one by one, and what can be computed again in the backward pass."""

from __future__ import annotations

from torch import nn

from selfsup.backbones import Backbone
from selfsup.tasks.parts.transformer import Block


def repeated_blocks(task: nn.Module) -> dict[nn.Module, Backbone | None]:
    """All blocks of a task, each with the innermost backbone that names it (None: a block of a decoder or predictor).

    Networks of several parts name lists of their parts' blocks (:class:`torch.nn.ModuleList`); here each block is on its own.
    A module inside another block is left out.

    Args:
        task: its networks, with moving averages and teachers.
    """
    found: dict[nn.Module, Backbone | None] = {}
    for part in task.modules():
        if isinstance(part, Backbone):
            for block in part.blocks():
                found |= dict.fromkeys(block if isinstance(block, nn.ModuleList) else [block], part)
        elif isinstance(part, Block):
            found.setdefault(part, None)
    inner = {module for block in found for module in list(block.modules())[1:]}
    return {block: owner for block, owner in found.items() if block not in inner}
