"""Run one process on a whole batch with the random draws of each chunk, as the reference for several processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from selfsup import batch_parts
from selfsup.objectives.parts.kmeans import StreamingKMeans
from selfsup.tasks import ComparesEmbeddings, PretextTask, StepOutput
from selfsup.tasks.base import InputChange
from selfsup.training.loop.stepper import split_batch
from selfsup.types import Batch

PROCESSES = 2


def halves(batch: Batch) -> list[Batch]:
    """The batch's two halves."""
    return list(split_batch(batch, PROCESSES))


def forward_joined(
    task: PretextTask,
    batch: Batch,
    generators: Sequence[torch.Generator],
    *,
    comparing: torch.Generator | None = None,
) -> StepOutput:
    """The task's output on the whole batch, each chunk with the draws of its own generator.

    What changes the input (views, corruptions, transformations) runs on each chunk by itself, since it may swap or mix samples
    of its chunk. Any other draw is made for each chunk in the chunk's shape, and joined along the samples. A draw that has no
    samples is the first chunk's, as processes that must share a draw take the first one's. A row that lacks a part is filled
    from a row of its own chunk.

    Args:
        task: it is changed by this.
        batch: the samples.
        generators: one for each chunk.
        comparing: what a task that compares embeddings draws with once all are embedded; None: as all else.
    """
    whole = torch.Generator()  # a mark: nothing is drawn with it while samples are looked at
    for module in task.modules():
        if isinstance(module, InputChange):
            module.forward = _on_chunks(module.forward, whole, generators)
    draws = _ChunksDraw(whole, generators, len(next(iter(batch.values()))))
    if comparing is None or not isinstance(task, ComparesEmbeddings):
        with draws, _filled_apart(batch, len(generators)):
            return cast(StepOutput, task(batch, whole))
    with draws, _filled_apart(batch, len(generators)):
        embeddings = task.embed(batch, whole)
    whole.set_state(comparing.get_state())
    return task.compare(embeddings)


def train_joined(task: PretextTask, batches: Sequence[Batch], generators: Sequence[torch.Generator], lr: float) -> list[float]:
    """Train by plain gradient descent on whole batches, each chunk with its own draws; gives the loss of each step.

    Args:
        task: is trained.
        batches: one for each step.
        generators: one for each chunk.
        lr: learning rate.
    """
    losses, steps = [], len(batches)
    task.fit_to_run(steps)
    with _centroids_of_first_chunk(len(generators)):
        for step, batch in enumerate(batches):
            loss = forward_joined(task, batch, generators).loss
            torch.autograd.backward(loss)
            losses.append(float(loss.detach()))
            task.after_backward(step / steps)
            with torch.no_grad():
                for parameter in task.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(lr * parameter.grad)
                        parameter.grad = None
            task.after_step((step + 1) / steps)
    return losses


@contextmanager
def _centroids_of_first_chunk(count: int) -> Iterator[None]:
    """Let k-means draw new centroids from the first of ``count`` chunks, as the first of so many processes does for all."""
    original = StreamingKMeans._draw

    def draw(self: StreamingKMeans, x: Tensor, real: Tensor, generator: torch.Generator | None) -> Tensor:
        first = real.clone()
        first[len(x) // count :] = 0
        return original(self, x, first, generator)

    StreamingKMeans._draw = draw  # type: ignore[method-assign]
    try:
        yield
    finally:
        StreamingKMeans._draw = original  # type: ignore[method-assign]


@contextmanager
def _filled_apart(batch: Batch, count: int) -> Iterator[None]:
    """Let ``fill_absent`` fill each of ``count`` chunks of a batch from itself, whoever has imported it."""
    original, rows = batch_parts.fill_absent, len(next(iter(batch.values())))

    def apart(whole: Batch, present: Tensor | None) -> Batch:
        if present is None or len(present) != rows:
            return original(whole, present)
        there = present.tensor_split(count)
        filled: Batch = _join([original(chunk, own) for chunk, own in zip(split_batch(whole, count), there, strict=True)])
        return filled

    users = [module for module in list(sys.modules.values()) if getattr(module, "fill_absent", None) is original]
    for module in users:
        setattr(module, "fill_absent", apart)  # noqa: B010  # mypy knows no such attribute of a module
    try:
        yield
    finally:
        for module in users:
            setattr(module, "fill_absent", original)  # noqa: B010


def _on_chunks(
    forward: Callable[..., Any], whole: torch.Generator, generators: Sequence[torch.Generator]
) -> Callable[..., Any]:
    def apart(batch: Batch, generator: torch.Generator | None) -> Any:
        if generator is not whole:  # a change within a change
            return forward(batch, generator)
        chunks = split_batch(batch, len(generators))
        return _join([forward(chunk, drawn) for chunk, drawn in zip(chunks, generators, strict=True)])

    return apart


def _join(chunks: Sequence[Any]) -> Any:
    """Outputs of the same structure, their tensors joined along the samples."""
    first = chunks[0]
    if isinstance(first, Tensor):
        return torch.cat(list(chunks))
    if isinstance(first, dict):
        return {key: _join([chunk[key] for chunk in chunks]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(_join(values) for values in zip(*chunks, strict=True)))
    if isinstance(first, list | tuple):
        return type(first)(_join(values) for values in zip(*chunks, strict=True))
    return first


class _ChunksDraw(TorchFunctionMode):
    """Makes every draw with ``whole`` for each chunk, with the chunk's generator."""

    def __init__(self, whole: torch.Generator, generators: Sequence[torch.Generator], rows: int) -> None:
        super().__init__()
        self.whole, self.generators, self.rows = whole, generators, rows
        self.sizes = [len(chunk) for chunk in torch.arange(rows).tensor_split(len(generators))]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not self.whole:
            return func(*args, **kwargs)
        name = func.__name__
        if name == "randperm":  # an order of all samples is one that processes must share
            orders = [func(*args, **{**kwargs, "generator": generator}) for generator in self.generators]
            return orders[0]
        if name not in ("rand", "randn", "randint"):
            raise NotImplementedError(
                f"torch.{name} draws with the run's generator, and the check knows rand, randn, randint, randperm."
            )
        bounds, size = self._size(name, args, kwargs)
        axis = self._samples(size)
        drawn = []
        for rows, generator in zip(self.sizes, self.generators, strict=True):
            shape = [length // self.rows * rows if place == axis else length for place, length in enumerate(size)]
            drawn.append(func(*bounds, shape, **{**kwargs, "generator": generator}))
        return drawn[0] if axis is None else torch.cat(drawn, dim=axis)

    def _size(self, name: str, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], list[int]]:
        """The arguments before the size, and the size."""
        if "size" in kwargs:
            return args, list(kwargs.pop("size"))
        if name == "randint" or (args and not isinstance(args[0], int)):
            return args[:-1], list(args[-1])
        return (), list(args)

    def _samples(self, size: Sequence[int]) -> int | None:
        """The axis along which samples lie, perhaps several numbers of each side by side."""
        if size and size[0] and size[0] % self.rows == 0:
            return 0
        return next((axis for axis, length in enumerate(size) if length == self.rows), None)
