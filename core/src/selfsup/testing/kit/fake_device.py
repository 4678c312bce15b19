"""Run a task on fake ``cuda`` tensors, where a mixed device or a host sync raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


class _NoCopyToHost(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its modes untyped
    """FakeTensorMode lets ``.cpu()`` pass; on a GPU it waits for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device.type == "cuda" and out.device.type == "cpu":
            raise AssertionError("a tensor was copied to the host: the step waits for the device there")
        return out


@contextmanager
def _looks_real() -> Iterator[None]:
    """Hide from libraries that tensors are fake: transformers leaves out host syncs where it sees a fake tensor."""
    subclasses: Any = torch._subclasses
    kind = subclasses.FakeTensor
    subclasses.FakeTensor = _NoCopyToHost
    try:
        yield
    finally:
        subclasses.FakeTensor = kind


@contextmanager
def fake_cuda(module: nn.Module, batch: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Move ``module`` (in place) to fake ``cuda`` tensors and yield ``batch`` there.

    Tensors that the module holds outside of parameters and buffers stay real and on the CPU, so that their use raises, as it
    would on a GPU. Only forward passes: autograd's engine asks for a real device.
    """
    mode = FakeTensorMode()

    def fake(tensor: Tensor) -> Tensor:
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")

    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(fake(parameter), requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = fake(buffer)
    with mode, _NoCopyToHost(), _looks_real():  # type: ignore[no-untyped-call]  # as above
        yield {key: fake(value) for key, value in batch.items()}
