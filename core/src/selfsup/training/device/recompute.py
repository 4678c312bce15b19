"""Activation checkpointing: keep only the inputs of blocks, and compute the rest again in the backward pass.

Chen et al. 2016 (arXiv:1604.06174). It saves the memory of the activations inside of blocks and costs one more forward pass of
them. Gradients are bit-identical: a block computes again with the same random state, arithmetic, settings and program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from selfsup.backbones import Backbone
from selfsup.errors import ConfigError
from selfsup.training.device.blocks import repeated_blocks


class RecomputedForward:
    """The forward pass of a block that keeps its inputs only.

    Args:
        block: its own forward pass is what is computed, twice.
        owner: the backbone that names the block, if one does.
    """

    def __init__(self, block: nn.Module, owner: Backbone | None) -> None:
        self._block, self._owner = block, owner
        self._own: Callable[..., Any] = block.forward
        self._compute = self._own

    def compile(self, **options: Any) -> None:
        """Compile what is computed, with options of ``torch.compile``; its two passes share the program."""
        self._compute = torch.compile(self._own, **options)

    def uncompile(self) -> None:
        """Undo :meth:`compile`."""
        self._compute = self._own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the block."""
        compute = self._compute
        if not torch.is_grad_enabled():
            return compute(*args, **kwargs)
        remembered = nullcontext if self._owner is None else self._owner.remember_forward()
        attention, again = F.scaled_dot_product_attention, False

        def either(*args: Any, **kwargs: Any) -> Any:
            nonlocal again
            if not again:
                again = True
                return compute(*args, **kwargs)
            with remembered(), _attending_with(attention), _copied_buffers(self._block):
                return compute(*args, **kwargs)

        return checkpoint(either, *args, use_reentrant=False, **kwargs)


class Recomputed:
    """Lets the trained blocks of a task keep their inputs only, until :meth:`undo`; weights keep their names.

    Networks without gradient (moving averages, frozen teachers) are left as they are.

    Args:
        task: has the networks.
        option: what an error names.
        instead: what else saves memory, for an error.

    Raises:
        ConfigError: no trained network has blocks.
    """

    def __init__(
        self,
        task: nn.Module,
        option: str = "optimization.checkpoint_activations",
        instead: str = "use optimization.accumulate",
    ) -> None:
        found = repeated_blocks(task)
        self._blocks = [block for block in found if any(parameter.requires_grad for parameter in block.parameters())]
        if not any(found[block] is not None for block in self._blocks):
            names = sorted({type(part).__name__ for part in task.modules() if isinstance(part, Backbone)})
            raise ConfigError(
                f"{option} has no effect: {', '.join(names)} has no repeated blocks that are trained (Backbone.blocks). "
                f"Leave it out, or {instead} to save memory."
            )
        self._own = [vars(block).get("forward") for block in self._blocks]
        for block in self._blocks:
            block.forward = RecomputedForward(block, found[block])

    def undo(self) -> None:
        """Give every block its own forward pass back."""
        for block, own in zip(self._blocks, self._own, strict=True):
            del block.forward
            if own is not None:
                block.forward = own
        self._blocks, self._own = [], []


@contextmanager
def recomputing(task: nn.Module, wanted: bool, **named: str) -> Iterator[None]:
    """Recompute the blocks of a task while entered, if ``wanted``.

    Args:
        task: see :class:`Recomputed`.
        wanted: whether to.
        named: what an error names, see :class:`Recomputed`.

    Raises:
        ConfigError: as for :class:`Recomputed`.
    """
    if not wanted:
        yield
        return
    recomputed = Recomputed(task, **named)
    try:
        yield
    finally:
        recomputed.undo()


@contextmanager
def _attending_with(attention: Any) -> Iterator[None]:
    """Use the attention function of the forward pass, which a task may replace meanwhile (:mod:`.attention`)."""
    now, F.scaled_dot_product_attention = F.scaled_dot_product_attention, attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = now


@contextmanager
def _copied_buffers(block: nn.Module) -> Iterator[None]:
    """Let the block change copies of its buffers: batch norm counts a batch once."""
    held: list[tuple[nn.Module, str, Tensor]] = [
        (module, name, buffer)
        for module in block.modules()
        if module.training
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    for module, name, buffer in held:
        module._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in held:
            module._buffers[name] = buffer
