"""Take the exact gradient of a loss over all samples of a batch, with the memory of one chunk.

Gradient caching (Gao et al. 2021, arXiv:2101.06983, section 3.2): embed the batch chunk by chunk without a graph, compute the
loss and its gradient with respect to all embeddings, then embed each chunk again and backpropagate its share of that gradient.
By the chain rule this is the gradient of the whole batch. It costs one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from selfsup.objectives.parts.embeddings import Embeddings
from selfsup.runtime import randomness
from selfsup.runtime.distributed import world_size
from selfsup.tasks import ComparesEmbeddings, StepOutput
from selfsup.training.device.fabric import Fabric, FabricModule
from selfsup.training.loop import sharding
from selfsup.training.loop.step_mean import average_over_devices, joined, weighted_by_share
from selfsup.types import Batch


class GradientCache:
    """Takes the gradient of one step of a task that compares embeddings, chunk by chunk.

    Args:
        fabric: the devices and the precision.
        module: the task as Fabric wrapped it.
        parameters: the trained ones; if weights are sharded, their shards.
        generator: the task's random generator.
    """

    def __init__(
        self, fabric: Fabric, module: FabricModule, parameters: Sequence[nn.Parameter], generator: torch.Generator
    ) -> None:
        self.fabric = fabric
        self.module = module
        self.task = cast("ComparesEmbeddings[Embeddings]", module.module)
        self.parameters = list(parameters)
        self.generator = generator

    def backward(self, chunks: Sequence[Batch]) -> tuple[StepOutput, Tensor]:
        """Leave the gradient of the loss of all chunks and devices in the parameters.

        Random state and buffers end as after one pass over all chunks and one comparison.

        Args:
            chunks: this device's share of the batch; all devices have the same numbers of samples and chunks.

        Returns:
            The output for the whole batch, and a detached scalar whose mean over the devices is its loss.
        """
        before = BufferCopies(self.task)
        draws, embedded = self._embed_all(chunks)
        output, loss, gradients = self._compare(embedded)
        del embedded
        after, drawn_after = BufferCopies(self.task), randomness.get_state(self.generator)
        before.restore()
        for chunk, drawn, gradient in zip(chunks, draws, gradients, strict=True):
            randomness.set_state(drawn, self.generator)
            self._send_back(chunk, gradient)
        after.restore()
        randomness.set_state(drawn_after, self.generator)
        if not sharding.is_sharded(self.task):
            average_over_devices(self.parameters)
        return output, loss

    @torch.no_grad()
    def _embed_all(self, chunks: Sequence[Batch]) -> tuple[list[dict[str, Any]], list[Embeddings]]:
        """For each chunk the random state before it, and its embeddings."""
        draws, embedded = [], []
        for chunk in chunks:
            draws.append(randomness.get_state(self.generator))
            embedded.append(self._embed(chunk, replay=False))
        return draws, embedded

    def _compare(self, embedded: Sequence[Embeddings]) -> tuple[StepOutput, Tensor, list[list[Tensor | None]]]:
        """The output, the loss, and the gradient for each chunk and tensor; None: the loss does not depend on the tensor.

        The objective's own parameters get their gradients here.
        """
        whole = type(embedded[0]).join(embedded)
        leaves = [tensor.detach().requires_grad_() for tensor in whole.tensors()]
        compared = _Kept(whole.with_tensors(leaves))
        with self._alone():
            output: StepOutput = self._call(lambda kept: self.task.compare(kept.embeddings), compared)
            loss = output.loss if world_size() == 1 else weighted_by_share(joined(output))
            self.fabric.backward(loss)
        sizes = zip(*([len(tensor) for tensor in each.tensors()] for each in embedded), strict=True)
        split = [self._split(leaf.grad, list(size)) for leaf, size in zip(leaves, sizes, strict=True)]
        return StepOutput(loss.detach(), output.metrics), loss.detach(), [list(chunk) for chunk in zip(*split, strict=True)]

    def _split(self, gradient: Tensor | None, sizes: list[int]) -> Sequence[Tensor | None]:
        """A gradient's rows by chunks."""
        if gradient is None:
            return [None] * len(sizes)
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:  # the loss scale (fp16) is applied again when the gradients are sent back
            gradient = gradient / scaler.scale(gradient.new_ones(()))
        split: tuple[Tensor, ...] = gradient.split(sizes)
        return split

    def _send_back(self, chunk: Batch, gradients: Sequence[Tensor | None]) -> None:
        """Embed a chunk again, and backpropagate the gradients of its embeddings."""
        with self._alone():
            tensors = self._embed(chunk, replay=True).tensors()
            # The derivative of a product with a constant is the constant, exactly.
            sums = [
                (tensor * gradient).sum()
                for tensor, gradient in zip(tensors, gradients, strict=True)
                if gradient is not None and tensor.requires_grad
            ]
            if sums:
                self.fabric.backward(torch.stack(sums).sum())

    def _embed(self, chunk: Batch, *, replay: bool) -> Embeddings:
        """The embeddings of a chunk."""

        def embed(batch: Batch, generator: torch.Generator) -> tuple[_Kept, list[Tensor]]:
            embeddings = self.task.embed(batch, generator, replay=replay)
            return _Kept(embeddings), embeddings.tensors()

        kept, _ = self._call(embed, chunk, self.generator)
        embeddings: Embeddings = kept.embeddings
        return embeddings

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function instead of the task's ``forward``.

        So it runs with the precision of the run and with the hooks of FSDP, which look for tensors in its outputs.
        """
        self.task.forward = function  # type: ignore[method-assign]
        try:
            return self.module(*args)
        finally:
            del self.task.forward

    def _alone(self) -> AbstractContextManager[None]:
        """Keep gradients on this device: they are averaged once, after the last chunk.

        DDP expects one backward pass that reaches all parameters; here several reach the networks, and one the objective.
        Sharded weights have no whole gradients to keep, so every pass averages them.
        """
        manager: AbstractContextManager[None] = self.fabric.no_backward_sync(
            self.module, enabled=not sharding.is_sharded(self.task)
        )
        return manager


class _Kept:
    """Hides embeddings from Fabric, which would convert the tensors in them."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings


class _Place(NamedTuple):
    module: nn.Module
    name: str
    buffer: Tensor
    value: Tensor


class BufferCopies:
    """Copies of all buffers of a module."""

    @torch.no_grad()
    def __init__(self, module: nn.Module) -> None:
        self._places = [
            _Place(child, name, buffer, buffer.clone())
            for child in module.modules()
            for name, buffer in child._buffers.items()
            if buffer is not None
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the buffers' values, in place unless a module has replaced a buffer."""
        for module, name, buffer, value in self._places:
            if module._buffers.get(name) is buffer:
                buffer.copy_(value)
            else:
                module._buffers[name] = value.clone()
