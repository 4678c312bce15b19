"""One process on a whole batch, with the draws that each half would make: what two processes or two parts must equal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from selfsup import parts
from selfsup.tasks import PretextTask, StepOutput, Views
from selfsup.tasks.base import InputChange
from selfsup.types import Batch

PARTS = 2


def halves(batch: Batch) -> list[Batch]:
    """The batch's two halves."""
    rows = len(next(iter(batch.values()))) // PARTS
    return [{key: value[part * rows : (part + 1) * rows] for key, value in batch.items()} for part in range(PARTS)]


def forward_joined(
    task: PretextTask, batch: Batch, generators: Sequence[torch.Generator], *, norms_apart: bool = False
) -> StepOutput:
    """The task's output on the whole batch, each half with the draws of its own generator.

    What changes the input (views, corruptions, transformations) runs on each half by itself, since it may swap or mix samples
    of its half. Any other draw is made for each half in the half's shape, and joined along the samples. A draw that has no
    samples is the first half's, as processes that must share a draw take the first one's. A row that lacks a part is filled
    from a row of its own half.

    Args:
        task: it is changed by this.
        batch: an even number of samples.
        generators: one for each half.
        norms_apart: whether batch norms see each half by itself, as the parts of an accumulated batch are seen.
    """
    rows = len(next(iter(batch.values())))
    whole = torch.Generator()  # a mark: nothing is ever drawn with it
    for module in task.modules():
        if isinstance(module, InputChange):
            module.forward = _on_halves(module.forward, whole, generators)
    if norms_apart:
        views = getattr(task, "views", None)
        if task.backbone.part_dims:  # views of several parts of a row go through a network apart
            views = None
        _split_norms(task, views.n_global + views.n_local if isinstance(views, Views) else 1)
    with _HalvesDraw(whole, generators, rows), _filled_apart(rows):
        return cast(StepOutput, task(batch, whole))


def _on_halves(
    forward: Callable[..., Any], whole: torch.Generator, generators: Sequence[torch.Generator]
) -> Callable[..., Any]:
    def apart(batch: Batch, generator: torch.Generator | None) -> Any:
        if generator is not whole:  # a change within a change
            return forward(batch, generator)
        return _join([forward(half, drawn) for half, drawn in zip(halves(batch), generators, strict=True)])

    return apart


def _join(parts: Sequence[Any]) -> Any:
    """Outputs of the same structure, their tensors joined along the samples."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, dict):
        return {key: _join([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(_join(values) for values in zip(*parts, strict=True)))
    if isinstance(first, list | tuple):
        return type(first)(_join(values) for values in zip(*parts, strict=True))
    return first


@contextmanager
def _filled_apart(rows: int) -> Iterator[None]:
    """Let :func:`selfsup.parts.fill_absent` fill each half of a batch of ``rows`` from itself, whoever has imported it."""
    original = parts.fill_absent

    def apart(batch: Batch, present: Tensor | None) -> Batch:
        if present is None or len(present) != rows:
            return original(batch, present)
        there = present.chunk(PARTS)
        filled: Batch = _join([original(half, own) for half, own in zip(halves(batch), there, strict=True)])
        return filled

    users = [module for module in list(sys.modules.values()) if getattr(module, "fill_absent", None) is original]
    for module in users:
        setattr(module, "fill_absent", apart)  # noqa: B010  # a module has no such attribute for mypy
    try:
        yield
    finally:
        for module in users:
            setattr(module, "fill_absent", original)  # noqa: B010


class _HalvesDraw(TorchFunctionMode):
    """Makes every draw with ``whole`` for each half, with the half's generator."""

    def __init__(self, whole: torch.Generator, generators: Sequence[torch.Generator], rows: int) -> None:
        super().__init__()
        self.whole, self.generators, self.rows = whole, generators, rows

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
        shape = [length // PARTS if place == axis else length for place, length in enumerate(size)]
        drawn = [func(*bounds, shape, **{**kwargs, "generator": generator}) for generator in self.generators]
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


def _split_norms(module: nn.Module, views: int) -> None:
    """Let every batch norm normalise the halves apart; ``views`` of all samples lie one after the other."""
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.forward = _normalize_halves(child.forward, views)  # type: ignore[method-assign,assignment]


def _normalize_halves(forward: Callable[[Tensor], Tensor], views: int) -> Callable[[Tensor], Tensor]:
    def apart(x: Tensor) -> Tensor:
        parts = x.reshape(views, PARTS, -1, *x.shape[1:]).unbind(1)
        normalized = [forward(part.flatten(0, 1)).reshape(part.shape) for part in parts]
        return torch.stack(normalized, dim=1).reshape(x.shape)

    return apart
